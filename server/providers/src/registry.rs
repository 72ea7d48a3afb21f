//! Every adapter by name: a line each. Providers that speak OpenAI's dialect are rows of data.

use std::sync::Arc;

use crate::{
    Provider,
    anthropic::Anthropic,
    demo,
    openai::{OpenAi, Prefill, Quirks, ReasoningIn},
};

const fn row(name: &'static str, base_url: Option<&'static str>) -> Quirks {
    Quirks {
        name,
        base_url,
        output_limit: "max_tokens",
        both_limits: false,
        reasoning_in: None,
        prefill: Prefill::Bare,
        embeds: true,
        reranks: false,
        moderates: false,
        makes_images: false,
        trusts_inner_status: false,
    }
}

/// The OpenAI-compatible services.
static COMPATIBLE: [Quirks; 10] = [
    Quirks {
        output_limit: "max_completion_tokens",
        both_limits: true,
        moderates: true,
        makes_images: true,
        ..row("openai", Some("https://api.openai.com/v1"))
    },
    Quirks {
        reasoning_in: Some(ReasoningIn::Content),
        prefill: Prefill::FinalMessage,
        reranks: true,
        ..row("vllm", None)
    },
    Quirks {
        output_limit: "max_completion_tokens",
        embeds: false,
        ..row("groq", Some("https://api.groq.com/openai/v1"))
    },
    Quirks {
        reasoning_in: Some(ReasoningIn::Content),
        prefill: Prefill::Prefix,
        embeds: false,
        ..row("deepseek", Some("https://api.deepseek.com"))
    },
    Quirks { output_limit: "max_completion_tokens", ..row("xai", Some("https://api.x.ai/v1")) },
    Quirks { reranks: true, ..row("together", Some("https://api.together.xyz/v1")) },
    Quirks {
        reasoning_in: Some(ReasoningIn::Content),
        reranks: true,
        ..row("fireworks", Some("https://api.fireworks.ai/inference/v1"))
    },
    Quirks {
        reasoning_in: Some(ReasoningIn::Details),
        trusts_inner_status: true,
        ..row("openrouter", Some("https://openrouter.ai/api/v1"))
    },
    row("openai_compatible", None),
    Quirks { both_limits: true, reasoning_in: Some(ReasoningIn::Content), ..row("demo", Some(demo::BASE_URL)) },
];

/// The adapter of a kind.
pub fn registry(kind: &str) -> Option<Arc<dyn Provider>> {
    if kind == "anthropic" {
        return Some(Arc::new(Anthropic));
    }
    let compatible = COMPATIBLE.iter().find(|q| q.name == kind)?;
    Some(Arc::new(OpenAi(compatible)))
}

/// Every kind.
pub fn kinds() -> Vec<&'static str> {
    std::iter::once("anthropic").chain(COMPATIBLE.iter().map(|q| q.name)).collect()
}
