//! `POST /v1/completions` as a `CompletionRequest`, and the answer back.
//!
//! A prompt is a message of the user's to whoever chats alone. What only a service of this dialect can do (several prompts, tokens,
//! `suffix`, `echo`, `best_of`) is kept among the members that the contract does not name, by which others refuse it.

use bytes::BytesMut;
use serde_json::{Map, Value, json};
use tollgate_proto::v1::{
    Choice, Completion, CompletionEvent, CompletionRequest, ContentShape, FinishReason, Finished, Message,
    OutputLimitSpelling, Part, Role, Started, TextPart, completion_event::Event, delta::Piece, part::Content,
};

use super::{
    Invalid, Wishes,
    chunk::{Print, boundary},
    members::{Members, items, string},
    request,
    response::{finish_word, usage},
    wishes::untagged,
};
use crate::{chat::receipt_text, stream::data};

/// Reads a request.
pub(super) fn read(body: &str) -> Result<(CompletionRequest, Wishes), Invalid> {
    let mut m = Members::read(body, "")?;
    let wishes = request::wishes(&mut m)?;
    let mut request = CompletionRequest { model: m.take("model")?, ..CompletionRequest::default() };
    let prompts = m.peek("prompt").filter(|json| *json != "null").map(prompts).transpose()?;
    let prompts = prompts.ok_or_else(|| Invalid::at("prompt", "is required"))?;
    if let Prompts::One(_) = prompts {
        m.raw("prompt");
    }
    request.messages = vec![said(prompts.text())];
    request.temperature = m.take("temperature")?;
    request.top_p = m.take("top_p")?;
    request.top_k = m.take("top_k")?;
    request.frequency_penalty = m.take("frequency_penalty")?;
    request.presence_penalty = m.take("presence_penalty")?;
    request.seed = request::seed(&mut m)?;
    request.stop = request::stop(&mut m)?;
    request.logit_bias = request::logit_bias(&mut m)?;
    request.max_output_tokens = m.take("max_tokens")?;
    if request.max_output_tokens.is_some() {
        request.set_max_output_spelling(OutputLimitSpelling::MaxTokens);
    }
    if let Some(alternatives) = m.take::<i64>("logprobs")? {
        request.logprobs = Some(true);
        request.top_logprobs = Some(alternatives).filter(|n| *n > 0);
    }
    // Of the best of several only some are shown, and all are billed.
    let n: Option<i64> = m.take("n")?;
    let best_of: Option<i64> = m.peek("best_of").and_then(|json| serde_json::from_str(json).ok());
    let each = n.into_iter().chain(best_of).max();
    let count = i64::try_from(prompts.count()).unwrap_or(i64::MAX);
    request.n = match (each, count) {
        (None, 1) => None,
        (each, count) => Some(each.unwrap_or(1).saturating_mul(count)),
    };
    request.user = m.take("user")?;
    request.extra_json = untagged(m.rest())?;
    Ok((request, wishes))
}

/// With what the body says to the shim.
pub(crate) fn read_with_wishes(body: &[u8]) -> Result<(CompletionRequest, Wishes), Invalid> {
    read(super::members::text(body)?)
}

/// What is to be completed.
enum Prompts {
    One(String),
    Texts(Vec<String>),
    /// Token ids as JSON, which has more bytes than they are tokens; and how many prompts they are.
    Tokens(String, usize),
}

impl Prompts {
    fn text(&self) -> String {
        match self {
            Self::One(text) | Self::Tokens(text, _) => text.clone(),
            Self::Texts(texts) => texts.join("\n"),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::Tokens(_, count) => *count,
        }
    }
}

fn prompts(json: &str) -> Result<Prompts, Invalid> {
    if let Some(text) = string(json) {
        return Ok(Prompts::One(text));
    }
    let wrong = || Invalid::at("prompt", "must be a text, texts, token ids, or lists of token ids");
    let all = items(json, "prompt").map_err(|_| wrong())?;
    if let Ok(mut texts) = serde_json::from_str::<Vec<String>>(json) {
        return match texts.len() {
            0 => Err(Invalid::at("prompt", "must not be empty")),
            1 => Ok(Prompts::One(texts.remove(0))),
            _ => Ok(Prompts::Texts(texts)),
        };
    }
    let is_ids = |json: &str| serde_json::from_str::<Vec<u32>>(json).is_ok_and(|ids| !ids.is_empty());
    match all.as_slice() {
        _ if is_ids(json) => Ok(Prompts::Tokens(json.to_owned(), 1)),
        lists if lists.iter().all(|list| is_ids(list)) => Ok(Prompts::Tokens(json.to_owned(), lists.len())),
        _ => Err(wrong()),
    }
}

fn said(text: String) -> Message {
    let part = Part { content: Some(Content::Text(TextPart { text })), ..Part::default() };
    let mut message = Message { parts: vec![part], ..Message::default() };
    message.set_role(Role::User);
    message.set_content_shape(ContentShape::String);
    message
}

/// `text_completion`, whole.
pub(crate) fn completion(completion: &Completion) -> String {
    let started = completion.started.clone().unwrap_or_default();
    let mut body = head(&started, completion.choices.iter().map(choice).collect());
    if let Some(shown) = &completion.usage {
        body.insert("usage".into(), usage(shown));
    }
    Value::Object(body).to_string()
}

fn head(started: &Started, choices: Value) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("id".into(), json!(started.response_id));
    body.insert("object".into(), json!("text_completion"));
    body.insert("created".into(), json!(started.created));
    body.insert("model".into(), json!(started.served_model));
    body.insert("choices".into(), choices);
    body
}

fn choice(choice: &Choice) -> Value {
    let parts = choice.message.iter().flat_map(|message| &message.parts);
    let texts = parts.filter_map(|part| match &part.content {
        Some(Content::Text(text)) => Some(text.text.as_str()),
        Some(Content::Refusal(refusal)) => Some(refusal.text.as_str()),
        _ => None,
    });
    let reason = choice.finished.as_ref().map_or("stop", word);
    shown(choice.index, &texts.collect::<String>(), &choice.logprobs_json, json!(reason), &mut 0)
}

/// OpenAI's word: there are no tools here.
fn word(finished: &Finished) -> &'static str {
    if finished.reason() == FinishReason::ToolCalls { "stop" } else { finish_word(finished) }
}

fn shown(index: u32, text: &str, logprobs_json: &str, finish_reason: Value, offset: &mut usize) -> Value {
    let logprobs = logprobs(logprobs_json, offset);
    json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason})
}

/// Probabilities as they were listed before chat. `offset`: characters of the answer before them.
fn logprobs(json: &str, offset: &mut usize) -> Value {
    let Ok(known) = serde_json::from_str::<Value>(json) else { return Value::Null };
    // A service of this very dialect has listed them so already.
    let Some(tokens) = known["content"].as_array() else { return known };
    let (mut texts, mut chances, mut top, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for token in tokens {
        let alternatives = token["top_logprobs"].as_array().into_iter().flatten();
        let alternatives = alternatives.filter_map(|a| Some((a["token"].as_str()?.to_owned(), a["logprob"].clone())));
        top.push(Value::Object(alternatives.collect()));
        offsets.push(json!(*offset));
        *offset += token["token"].as_str().unwrap_or_default().chars().count();
        texts.push(token["token"].clone());
        chances.push(token["logprob"].clone());
    }
    json!({"tokens": texts, "token_logprobs": chances, "top_logprobs": top, "text_offset": offsets})
}

/// Prints `text_completion` chunks.
pub(crate) struct Chunks {
    include_usage: bool,
    started: Started,
    /// Characters that each choice has said.
    offsets: std::collections::BTreeMap<u32, usize>,
    /// Another attempt has taken over where one broke.
    goes_on: bool,
}

impl Chunks {
    pub(crate) fn new(include_usage: bool) -> Self {
        Self { include_usage, started: Started::default(), offsets: Default::default(), goes_on: false }
    }

    /// Something of the gateway's own, in a chunk without choices.
    fn tell(&self, name: &str, what: Value, out: &mut BytesMut) {
        let mut body = head(&self.started, json!([]));
        body.insert("tollgate".into(), json!({ name: what }));
        data(Value::Object(body).to_string().as_bytes(), out);
    }

    fn chunk(&self, choices: Value, shown: Option<Value>, out: &mut BytesMut) {
        let mut body = head(&self.started, choices);
        if self.include_usage {
            body.insert("usage".into(), shown.unwrap_or_default());
        }
        data(Value::Object(body).to_string().as_bytes(), out);
    }
}

impl Print for Chunks {
    fn print(&mut self, event: CompletionEvent, out: &mut BytesMut) {
        match event.event {
            // An answer that goes on keeps its id.
            Some(Event::Started(started)) if !self.goes_on => self.started = started,
            Some(Event::Restarted(restarted)) => {
                let (told, starts_over) = boundary(&restarted);
                if starts_over {
                    self.offsets.clear();
                }
                self.goes_on = !starts_over;
                self.tell("restarted", told, out);
            }
            Some(Event::Delta(delta)) => {
                let Some(Piece::Text(text) | Piece::Refusal(text)) = &delta.piece else { return };
                let offset = self.offsets.entry(delta.choice).or_default();
                let choice = shown(delta.choice, text, &delta.logprobs_json, Value::Null, offset);
                self.chunk(json!([choice]), None, out);
            }
            Some(Event::Finished(finished)) => {
                let choice = shown(finished.choice, "", "", json!(word(&finished)), &mut 0);
                self.chunk(json!([choice]), None, out);
            }
            Some(Event::Usage(reported)) if self.include_usage => {
                self.chunk(json!([]), Some(usage(&reported)), out);
            }
            Some(Event::Routing(routing)) => self.tell("route", routing.in_words().into(), out),
            Some(Event::Receipt(receipt)) => self.tell("receipt", receipt_text(&receipt).into(), out),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tollgate_proto::v1::{Delta, MidstreamPolicy, Restarted};

    use super::*;

    fn asked(prompt: Value, more: Value) -> Result<CompletionRequest, Invalid> {
        let mut body = json!({"model": "m", "prompt": prompt});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        crate::openai::read_text(body.to_string().as_bytes())
    }

    #[test]
    fn a_prompt_is_a_message_and_what_only_this_dialect_knows_is_kept_by_its_name() {
        let one = asked(json!("Once"), json!({"logprobs": 3})).unwrap();
        assert_eq!((one.messages.len(), one.n, one.extra_json.as_str()), (1, None, ""));
        assert_eq!((one.logprobs, one.top_logprobs), (Some(true), Some(3)));
        assert_eq!(asked(json!(["Once"]), json!({})).unwrap().extra_json, "");
        let several = asked(json!(["a", "b"]), json!({"n": 2, "best_of": 5})).unwrap();
        assert_eq!((several.n, several.extra_json.as_str()), (Some(10), r#"{"prompt":["a","b"],"best_of":5}"#));
        assert_eq!(asked(json!([[1, 2], [3]]), json!({})).unwrap().n, Some(2));
        for (wrong, field) in
            [(json!([]), "prompt"), (json!({}), "prompt"), (json!(null), "prompt"), (json!([[]]), "prompt")]
        {
            assert_eq!(asked(wrong, json!({})).unwrap_err().violations[0].0, field);
        }
    }

    #[test]
    fn probabilities_are_listed_as_before_chat() {
        let chat = json!({"content": [
            {"token": "Hé", "logprob": -0.5, "top_logprobs": [{"token": "Hé", "logprob": -0.5}]},
            {"token": "llo", "logprob": -1.0, "top_logprobs": []},
        ]});
        let mut offset = 0;
        let listed = logprobs(&chat.to_string(), &mut offset);
        assert_eq!(listed["text_offset"], json!([0, 2]));
        assert_eq!((&listed["tokens"], &listed["top_logprobs"][0]), (&json!(["Hé", "llo"]), &json!({"Hé": -0.5})));
        assert_eq!(offset, 5);
    }

    #[test]
    fn an_answer_that_starts_over_says_so_and_counts_its_characters_anew() {
        for (policy, word, before) in
            [(MidstreamPolicy::Restart, "restart", 0), (MidstreamPolicy::Continue, "continue", 3)]
        {
            let mut chunks = Chunks::new(false);
            let mut printed = |event: Event| -> Value {
                let mut out = BytesMut::new();
                chunks.print(CompletionEvent { event: Some(event), ..CompletionEvent::default() }, &mut out);
                serde_json::from_slice(&out[b"data: ".len()..]).unwrap()
            };
            let said = || {
                let logprobs_json = r#"{"content":[{"token":"the","logprob":-0.5}]}"#.to_owned();
                let piece = Some(Piece::Text("the".into()));
                Event::Delta(Delta { piece, logprobs_json, ..Delta::default() })
            };
            assert_eq!(printed(said())["choices"][0]["logprobs"]["text_offset"], json!([0]));
            let restarted = Restarted { attempt: 2, policy: policy as i32, ..Restarted::default() };
            let boundary = printed(Event::Restarted(restarted));
            let told = &boundary["tollgate"]["restarted"];
            assert_eq!((&boundary["choices"], &told["policy"]), (&json!([]), &json!(word)));
            assert_eq!(told["discard"] == true, word == "restart", "{told}");
            assert_eq!(printed(said())["choices"][0]["logprobs"]["text_offset"], json!([before]), "{word}");
        }
    }
}
