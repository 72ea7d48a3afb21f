//! Every adapter by name: a line each. Providers that speak OpenAI's dialect are rows of data in [`services`](crate::openai::services).

use std::sync::Arc;

use crate::{
    Provider,
    anthropic::Anthropic,
    azure::Azure,
    openai::{OpenAi, services::SERVICES},
    openai_responses::OpenAiResponses,
};

/// Adapters that have a dialect of their own.
const ADAPTERS: [(&str, fn() -> Arc<dyn Provider>); 3] = [
    ("anthropic", || Arc::new(Anthropic)),
    ("azure", || Arc::new(Azure)),
    ("openai_responses", || Arc::new(OpenAiResponses)),
];

/// The adapter of a kind.
pub fn registry(kind: &str) -> Option<Arc<dyn Provider>> {
    if let Some((_, adapter)) = ADAPTERS.iter().find(|(name, _)| *name == kind) {
        return Some(adapter());
    }
    let service = SERVICES.iter().find(|service| service.name == kind)?;
    Some(Arc::new(OpenAi(service)))
}

/// Every kind.
pub fn kinds() -> Vec<&'static str> {
    ADAPTERS.iter().map(|(name, _)| *name).chain(SERVICES.iter().map(|service| service.name)).collect()
}
