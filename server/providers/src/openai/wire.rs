//! Their types, their names, nothing of ours. Every field may be missing or null; unknown ones are ignored.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, SeqAccess},
};
use serde_json::value::RawValue;

/// A chunk of a stream, or a whole answer.
#[derive(Deserialize)]
pub(crate) struct Chunk<'a> {
    pub(crate) id: Option<String>,
    pub(crate) object: Option<String>,
    pub(crate) created: Option<f64>,
    pub(crate) model: Option<String>,
    #[serde(borrow, default)]
    pub(crate) choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    pub(crate) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) system_fingerprint: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) x_groq: Option<XGroq<'a>>,
    /// Perplexity.
    #[serde(borrow)]
    pub(crate) citations: Option<&'a RawValue>,
    /// Perplexity.
    #[serde(borrow)]
    pub(crate) search_results: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(crate) struct XGroq<'a> {
    #[serde(borrow)]
    pub(crate) usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(crate) struct Choice<'a> {
    #[serde(default)]
    pub(crate) index: Option<u32>,
    #[serde(borrow)]
    pub(crate) delta: Option<Delta<'a>>,
    #[serde(borrow)]
    pub(crate) message: Option<Delta<'a>>,
    /// Of a completed prompt. Together repeats it beside deltas.
    pub(crate) text: Option<String>,
    pub(crate) finish_reason: Option<String>,
    pub(crate) native_finish_reason: Option<String>,
    #[serde(borrow)]
    pub(crate) stop_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) error: Option<&'a RawValue>,
    /// Moonshot.
    #[serde(borrow)]
    pub(crate) usage: Option<&'a RawValue>,
}

/// A message, or the next piece of one.
#[derive(Deserialize)]
pub(crate) struct Delta<'a> {
    pub(crate) content: Option<Content>,
    pub(crate) refusal: Option<String>,
    pub(crate) reasoning_content: Option<Text>,
    pub(crate) reasoning: Option<Text>,
    #[serde(default)]
    pub(crate) reasoning_details: Option<Vec<ReasoningDetail>>,
    #[serde(borrow, default)]
    pub(crate) tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(borrow)]
    pub(crate) function_call: Option<Function<'a>>,
    #[serde(borrow)]
    pub(crate) audio: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) annotations: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(crate) struct ReasoningDetail {
    pub(crate) text: Option<String>,
    pub(crate) summary: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) data: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct ToolCall<'a> {
    pub(crate) index: Option<u32>,
    pub(crate) id: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(borrow)]
    pub(crate) function: Option<Function<'a>>,
    #[serde(borrow)]
    pub(crate) custom: Option<Custom<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct Function<'a> {
    pub(crate) name: Option<String>,
    /// A string; some servers send the object itself.
    #[serde(borrow)]
    pub(crate) arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(crate) struct Custom<'a> {
    pub(crate) name: Option<String>,
    #[serde(borrow)]
    pub(crate) input: Option<&'a RawValue>,
}

/// What is said: a string, or a list of parts (Mistral).
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Box<RawValue>>),
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a list of parts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Content, A::Error> {
                let mut list = Vec::new();
                while let Some(part) = parts.next_element()? {
                    list.push(part);
                }
                Ok(Content::Parts(list))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Content::Parts(Vec::new()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A part of a list of content.
#[derive(Deserialize)]
pub(crate) struct Part {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) thinking: Option<Text>,
}

/// Text, as a string or as an array of parts that have some.
#[derive(Default)]
pub(crate) struct Text(pub(crate) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or parts of text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Text, E> {
                Ok(Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Text, A::Error> {
                #[derive(Deserialize)]
                struct Part {
                    text: Option<String>,
                }
                let mut text = String::new();
                while let Some(part) = parts.next_element::<Part>()? {
                    text.push_str(&part.text.unwrap_or_default());
                }
                Ok(Text(text))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Usage in all its spellings. Some services write counts as floats.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: Option<f64>,
    pub(crate) completion_tokens: Option<f64>,
    pub(crate) total_tokens: Option<f64>,
    pub(crate) prompt_tokens_details: Option<PromptDetails>,
    pub(crate) completion_tokens_details: Option<CompletionDetails>,
    /// Together.
    pub(crate) cached_tokens: Option<f64>,
    /// DeepSeek.
    pub(crate) prompt_cache_hit_tokens: Option<f64>,
    /// Mistral.
    pub(crate) num_cached_tokens: Option<f64>,
    /// Mistral, for embeddings.
    pub(crate) prompt_token_details: Option<PromptDetails>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct PromptDetails {
    pub(crate) cached_tokens: Option<f64>,
    pub(crate) cache_write_tokens: Option<f64>,
    pub(crate) audio_tokens: Option<f64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct CompletionDetails {
    pub(crate) reasoning_tokens: Option<f64>,
    pub(crate) audio_tokens: Option<f64>,
}

/// A string's text, or the JSON text of anything else.
pub(crate) fn text_of(raw: &RawValue) -> String {
    serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
}
