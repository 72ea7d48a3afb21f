//! Every adapter by name: a line each. Providers that speak OpenAI's dialect are rows of data in [`services`](crate::openai::services).

use std::sync::Arc;

use crate::{
    Provider,
    anthropic::Anthropic,
    azure::Azure,
    bedrock::Bedrock,
    cohere::Cohere,
    gemini::Gemini,
    mistral::Mistral,
    ollama::Ollama,
    openai::{OpenAi, services::SERVICES},
    openai_responses::OpenAiResponses,
    vertex::Vertex,
};

/// Adapters that have a dialect of their own.
const ADAPTERS: &[&str] =
    &["anthropic", "azure", "bedrock", "cohere", "gemini", "mistral", "ollama", "openai_responses", "vertex"];

/// The adapter of a kind.
pub fn registry(kind: &str) -> Option<Arc<dyn Provider>> {
    Some(match kind {
        "anthropic" => Arc::new(Anthropic),
        "azure" => Arc::new(Azure),
        "bedrock" => Arc::new(Bedrock),
        "cohere" => Arc::new(Cohere),
        "gemini" => Arc::new(Gemini),
        "mistral" => Arc::new(Mistral),
        "ollama" => Arc::new(Ollama),
        "openai_responses" => Arc::new(OpenAiResponses),
        "vertex" => Arc::new(Vertex),
        _ => Arc::new(OpenAi(SERVICES.iter().find(|service| service.name == kind)?)),
    })
}

/// Every kind.
pub fn kinds() -> Vec<&'static str> {
    ADAPTERS.iter().copied().chain(SERVICES.iter().map(|service| service.name)).collect()
}
