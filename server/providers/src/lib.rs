//! Adapters: our call to a provider's dialect, its bytes to our events.
//!
//! An adapter (a folder) only translates: it sends nothing, reads no clock, and knows no virtual key and no budget. Sending is in
//! [`transport`], the only place that calls a provider; [`exchange`] joins the two. [`fetch`] gets what callers name by URL, for
//! providers that do not. Providers that speak OpenAI's dialect are rows of
//! data in [`registry`].

mod answer;
pub mod anthropic;
pub mod azure;
pub mod bedrock;
pub mod catalogue;
pub mod cohere;
mod conversation;
pub mod credential;
pub mod demo;
pub mod exchange;
pub mod fetch;
pub mod files;
mod foreign;
pub mod framing;
pub mod gemini;
pub mod headroom;
pub mod json;
mod left_out;
pub mod media;
pub mod mistral;
pub mod ollama;
pub mod openai;
pub mod openai_responses;
mod provider;
pub mod refusal;
pub mod registry;
pub mod rerank;
mod subtitles;
pub mod transport;
pub mod upload;
pub mod vertex;

pub use anthropic::without_messages;
pub use conversation::reasoning::UNSIGNED;
pub use files::Files;
pub(crate) use provider::Written;
pub use provider::{
    Chat, ChatCall, Decoder, EmbedCall, Head, Mode, Offered, Outgoing, Provider, ReasonsBy, Target, Unary, UnaryCall,
    Unsupported,
};
