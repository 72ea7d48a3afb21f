//! What a service, or a family of its models, cannot heed: refused by name, or left out of the body.

use tollgate_domain::Failure;
use tollgate_proto::v1::{CompletionRequest, response_format::Format};

use super::request::unsendable;
use crate::{Unsupported, Written, json};

/// A parameter that not everybody heeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// `temperature`.
    Temperature,
    /// `top_p`.
    TopP,
    /// `top_k`.
    TopK,
    /// `frequency_penalty`.
    FrequencyPenalty,
    /// `presence_penalty`.
    PresencePenalty,
    /// `seed`.
    Seed,
    /// `stop`.
    Stop,
    /// `n` beyond 1.
    N,
    /// `logprobs`.
    Logprobs,
    /// `top_logprobs`.
    TopLogprobs,
    /// `logit_bias`.
    LogitBias,
    /// `response_format` with a schema.
    JsonSchema,
    /// `name` of a message.
    MessageName,
}

/// How a call uses a parameter.
#[derive(PartialEq, Eq)]
enum Use {
    /// Not at all.
    Absent,
    /// It says what holds anyway.
    Default,
    Asked,
}

impl Param {
    /// Its member in the body.
    fn member(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::TopP => "top_p",
            Self::TopK => "top_k",
            Self::FrequencyPenalty => "frequency_penalty",
            Self::PresencePenalty => "presence_penalty",
            Self::Seed => "seed",
            Self::Stop => "stop",
            Self::N => "n",
            Self::Logprobs => "logprobs",
            Self::TopLogprobs => "top_logprobs",
            Self::LogitBias => "logit_bias",
            Self::JsonSchema => "response_format",
            Self::MessageName => "messages",
        }
    }

    fn used(self, request: &CompletionRequest) -> Use {
        fn used<T: PartialEq>(value: Option<T>, default: T) -> Use {
            match value {
                None => Use::Absent,
                Some(value) if value == default => Use::Default,
                Some(_) => Use::Asked,
            }
        }
        let asked = |is_asked| if is_asked { Use::Asked } else { Use::Absent };
        match self {
            Self::Temperature => used(request.temperature, 1.0),
            Self::TopP => used(request.top_p, 1.0),
            Self::TopK => asked(request.top_k.is_some()),
            Self::FrequencyPenalty => used(request.frequency_penalty, 0.0),
            Self::PresencePenalty => used(request.presence_penalty, 0.0),
            Self::Seed => asked(request.seed.is_some()),
            Self::Stop => asked(request.stop.as_ref().is_some_and(|stop| !stop.sequences.is_empty())),
            Self::N => used(request.n, 1),
            Self::Logprobs => used(request.logprobs, false),
            Self::TopLogprobs => used(request.top_logprobs, 0),
            Self::LogitBias => asked(!request.logit_bias.is_empty()),
            Self::JsonSchema => {
                let format = request.response_format.as_ref().and_then(|f| f.format.as_ref());
                asked(matches!(format, Some(Format::JsonSchema(_))))
            }
            Self::MessageName => asked(request.messages.iter().any(|message| message.name.is_some())),
        }
    }

    /// What is told of it, message by message where it stands in several.
    fn unsupported(self, request: &CompletionRequest, why: &'static str) -> Vec<Unsupported> {
        match self {
            Self::MessageName => {
                let named = request.messages.iter().enumerate().filter(|(_, message)| message.name.is_some());
                named.map(|(i, _)| Unsupported::because(format!("messages[{i}].name"), why)).collect()
            }
            Self::JsonSchema => {
                let why = "json_schema is not offered by this service; json_object is";
                vec![Unsupported::because(self.member(), why)]
            }
            _ => vec![Unsupported::because(self.member(), why)],
        }
    }
}

/// Takes out of a body what is not heeded, be it the caller's own or written from the call. What only says the default goes unnoticed.
pub(crate) fn leave_out(
    params: &[Param],
    why: &'static str,
    request: &CompletionRequest,
    written: &mut Written,
) -> Result<(), Failure> {
    let mut edits = Vec::new();
    for param in params {
        let used = param.used(request);
        if used == Use::Asked {
            for parameter in param.unsupported(request, why) {
                // A service and its model may lack the same.
                if !written.unsupported.iter().any(|told| told.field == parameter.field) {
                    written.unsupported.push(parameter);
                }
            }
        }
        match param {
            _ if used == Use::Absent => {}
            Param::MessageName => edits.push((param.member(), Some(nameless(&written.body)?))),
            _ => edits.push((param.member(), None)),
        }
    }
    if !edits.is_empty() {
        written.body = json::edit(&written.body, &edits).map_err(unsendable)?;
    }
    Ok(())
}

/// The messages of a body, without names.
fn nameless(body: &[u8]) -> Result<String, Failure> {
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        messages: Vec<&'a serde_json::value::RawValue>,
    }
    let body: Body<'_> = serde_json::from_slice(body).map_err(unsendable)?;
    let mut messages = Vec::with_capacity(body.messages.len());
    for message in body.messages {
        let edited = json::edit(message.get().as_bytes(), &[("name", None)]).map_err(unsendable)?;
        messages.push(String::from_utf8_lossy(&edited).into_owned());
    }
    Ok(json::array(&messages))
}
