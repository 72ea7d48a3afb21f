//! Every adapter by name: a line each. Providers that speak OpenAI's dialect are rows of data in [`services`](crate::openai::services).

use std::sync::Arc;

use crate::{
    Provider,
    anthropic::Anthropic,
    azure::Azure,
    cohere::Cohere,
    mistral::Mistral,
    ollama::Ollama,
    openai::{OpenAi, services::SERVICES},
    openai_responses::OpenAiResponses,
};

/// Adapters that have a dialect of their own.
const ADAPTERS: [&str; 6] = ["anthropic", "azure", "cohere", "mistral", "ollama", "openai_responses"];

/// The adapter of a kind.
pub fn registry(kind: &str) -> Option<Arc<dyn Provider>> {
    Some(match kind {
        "anthropic" => Arc::new(Anthropic),
        "azure" => Arc::new(Azure),
        "cohere" => Arc::new(Cohere),
        "mistral" => Arc::new(Mistral),
        "ollama" => Arc::new(Ollama),
        "openai_responses" => Arc::new(OpenAiResponses),
        _ => Arc::new(OpenAi(SERVICES.iter().find(|service| service.name == kind)?)),
    })
}

/// Every kind.
pub fn kinds() -> Vec<&'static str> {
    ADAPTERS.into_iter().chain(SERVICES.iter().map(|service| service.name)).collect()
}
