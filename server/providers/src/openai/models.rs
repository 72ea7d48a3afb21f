//! Families of models that heed less than others of the same service.
//!
//! Sources: OpenAI, "Reasoning models" and "Using GPT-5" (parameter compatibility); Microsoft, "Azure OpenAI reasoning models" (what is
//! not supported); xAI, "Reasoning" (presence_penalty, frequency_penalty and stop);
//! DeepSeek, "Reasoning Model".

use tollgate_proto::v1::CompletionRequest;

use super::Param::{self, *};
use crate::ReasonsBy;

/// Models that reason before they answer.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// How their names begin, up to a dash, a dot or the end.
    begins: &'static [&'static str],
    /// Marks of models that have such a name and are none of them.
    except: &'static [&'static str],
    /// Whether they reason only where an effort is asked for.
    rests: bool,
    /// What they do not heed while they reason.
    lacks: &'static [Param],
    /// The only spelling of the output limit that they take; `None`: the service's.
    limit: Option<&'static str>,
}

const SAMPLING: &[Param] = &[Temperature, TopP, FrequencyPenalty, PresencePenalty, Logprobs, TopLogprobs, LogitBias];
const SAMPLING_AND_STOP: &[Param] =
    &[Temperature, TopP, FrequencyPenalty, PresencePenalty, Logprobs, TopLogprobs, LogitBias, Stop];

const OPENAI_REASONING: Family = Family {
    begins: &[],
    except: &["-chat"],
    rests: false,
    lacks: SAMPLING_AND_STOP,
    limit: Some("max_completion_tokens"),
};

/// OpenAI's, wherever they are served. The first that fits counts.
pub static OPENAI: [Family; 3] = [
    Family {
        begins: &["gpt-5.1", "gpt-5.2", "gpt-5.4"],
        except: &["-chat", "-codex", "-pro"],
        rests: true,
        ..OPENAI_REASONING
    },
    Family { begins: &["gpt-5", "o3", "o4"], ..OPENAI_REASONING },
    Family { begins: &["o1"], lacks: SAMPLING, ..OPENAI_REASONING },
];

/// DeepSeek's ("Reasoning Model", parameters that are not supported).
pub(super) static DEEPSEEK: [Family; 1] = [Family {
    begins: &["deepseek-reasoner"],
    except: &[],
    rests: false,
    lacks: &[Temperature, TopP, FrequencyPenalty, PresencePenalty, Logprobs, TopLogprobs],
    limit: None,
}];

/// xAI's.
pub(super) static XAI: [Family; 1] = [Family {
    begins: &["grok-3-mini", "grok-4", "grok-code"],
    except: &["non-reasoning"],
    rests: false,
    lacks: &[FrequencyPenalty, PresencePenalty, Stop],
    limit: None,
}];

impl Family {
    /// The family of a model; a vendor before a slash is no part of its name.
    pub(crate) fn of(families: &'static [Self], model: &str) -> Option<&'static Self> {
        let name = model.rsplit('/').next().unwrap_or(model);
        let begins = |family: &&Self| {
            let mut rests = family.begins.iter().filter_map(|begin| name.strip_prefix(begin));
            rests.any(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
        };
        families.iter().find(|family| begins(family) && !family.except.iter().any(|mark| name.contains(mark)))
    }

    /// Whether a model of the family reasons before it answers the call.
    pub(crate) fn reasons(&self, request: &CompletionRequest) -> bool {
        match request.reasoning.as_ref().and_then(|reasoning| reasoning.effort_native.as_deref()) {
            Some(effort) => effort != "none",
            None => !self.rests,
        }
    }

    /// What it does not heed in this call.
    pub(crate) fn lacks(&self, request: &CompletionRequest) -> &'static [Param] {
        if self.reasons(request) { self.lacks } else { &[] }
    }

    /// The only spelling of the output limit that it takes.
    pub(crate) fn limit(&self) -> Option<&'static str> {
        self.limit
    }
}

/// How a model is told how much to reason: OpenAI's before `o1`, and what is like them, refuse to be told.
pub(crate) fn reasons_by(model: &str) -> ReasonsBy {
    let name = model.rsplit('/').next().unwrap_or(model);
    let is_older = ["gpt-3.5", "gpt-4", "chatgpt-4o"].iter().any(|begin| name.starts_with(begin));
    if is_older || name.ends_with("-chat-latest") { ReasonsBy::Nothing } else { ReasonsBy::Words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_families_apart() {
        let reasons = |model: &str| Family::of(&OPENAI, model).is_some();
        for model in ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5-mini", "gpt-5.3-codex", "openai/gpt-5.2"] {
            assert!(reasons(model), "{model}");
        }
        for model in ["gpt-4o", "gpt-5-chat-latest", "gpt-5.2-chat-latest", "o100", "gpt-50", "omni-moderation", "m"] {
            assert!(!reasons(model), "{model}");
        }
        assert!(Family::of(&XAI, "grok-4-fast-non-reasoning").is_none());
    }

    #[test]
    fn models_that_rest_heed_everything_until_an_effort_is_asked_for() {
        let mut request = CompletionRequest::default();
        let lacks = |model, request: &_| Family::of(&OPENAI, model).unwrap().lacks(request).len();
        assert_eq!(lacks("gpt-5.1", &request), 0);
        assert!(lacks("gpt-5", &request) > 0 && lacks("gpt-5.1-codex", &request) > 0);
        request.reasoning.get_or_insert_default().effort_native = Some("low".into());
        assert!(lacks("gpt-5.1", &request) > 0);
        request.reasoning.get_or_insert_default().effort_native = Some("none".into());
        assert_eq!(lacks("gpt-5.3", &request), 0);
    }
}
