//! Their counts in the contract's normal form.

use tollgate_proto::v1::{InputUsage, OutputUsage, Usage};

use super::wire;

/// Counts as they grow: a later one wins, one that is missing changes nothing.
#[derive(Default)]
pub(super) struct Counts {
    known: wire::Usage,
    native: Option<String>,
}

impl Counts {
    /// Takes a `usageMetadata`.
    pub(super) fn take(&mut self, text: &str) -> Result<(), serde_json::Error> {
        let new: wire::Usage = serde_json::from_str(text)?;
        let known = &mut self.known;
        known.prompt_token_count = new.prompt_token_count.or(known.prompt_token_count);
        known.candidates_token_count = new.candidates_token_count.or(known.candidates_token_count);
        known.thoughts_token_count = new.thoughts_token_count.or(known.thoughts_token_count);
        known.tool_use_prompt_token_count = new.tool_use_prompt_token_count.or(known.tool_use_prompt_token_count);
        known.cached_content_token_count = new.cached_content_token_count.or(known.cached_content_token_count);
        known.prompt_tokens_details = new.prompt_tokens_details.or(known.prompt_tokens_details.take());
        known.tool_use_prompt_tokens_details =
            new.tool_use_prompt_tokens_details.or(known.tool_use_prompt_tokens_details.take());
        known.candidates_tokens_details = new.candidates_tokens_details.or(known.candidates_tokens_details.take());
        known.service_tier = new.service_tier.or(known.service_tier.take());
        known.traffic_type = new.traffic_type.or(known.traffic_type.take());
        known.cache_tokens_details = new.cache_tokens_details.or(known.cache_tokens_details.take());
        self.native = Some(text.to_owned());
        Ok(())
    }

    /// `None` where nothing was counted. What tools put into the prompt is read as well; thoughts are written as well.
    pub(super) fn normal(&self) -> Option<Usage> {
        let known = &self.known;
        let prompt = known.prompt_token_count?;
        let of_prompt = |modality: &str| {
            let of_tools = of_modality(&known.tool_use_prompt_tokens_details, modality);
            of_modality(&known.prompt_tokens_details, modality).saturating_add(of_tools)
        };
        let thoughts = known.thoughts_token_count.unwrap_or(0);
        Some(Usage {
            input: Some(InputUsage {
                total: prompt.saturating_add(known.tool_use_prompt_token_count.unwrap_or(0)),
                cached_read: known.cached_content_token_count.unwrap_or(0),
                audio: of_prompt("AUDIO"),
                audio_cached: of_modality(&known.cache_tokens_details, "AUDIO"),
                // Cached images are cached reads: no class overlaps another but audio.
                image: of_prompt("IMAGE").saturating_sub(of_modality(&known.cache_tokens_details, "IMAGE")),
                ..InputUsage::default()
            }),
            output: Some(OutputUsage {
                total: known.candidates_token_count.unwrap_or(0).saturating_add(thoughts),
                reasoning: thoughts,
                audio: of_modality(&known.candidates_tokens_details, "AUDIO"),
                image: of_modality(&known.candidates_tokens_details, "IMAGE"),
            }),
            native_json: self.native.clone(),
            service_tier_native: known.service_tier.clone().or(known.traffic_type.clone()),
            ..Usage::default()
        })
    }
}

fn of_modality(details: &Option<Vec<wire::ModalityCount>>, modality: &str) -> u64 {
    let counts = details.iter().flatten().filter(|d| d.modality.as_deref() == Some(modality));
    counts.filter_map(|d| d.token_count).fold(0, u64::saturating_add)
}
