//! Our messages as their contents: system apart, equal neighbours merged, tool results by name and in the order of their calls.
//!
//! A `thoughtSignature` stands on a part of the model's, and must come back on that same part. In our messages it is the signature of a
//! `ReasoningPart` directly before that part; the words of that reasoning are the thought that went before, or none. So a decoder tells a
//! signature before the text or the call that carries it, and a writer puts it on the text or the call that follows; where none does,
//! on an empty text, which is where streams like to leave it. Dialects that keep reasoning apart from the rest (OpenAI's) give it back before
//! the message's text: models that insist on signed calls sign the first call, so there it goes to that one.

use std::collections::HashMap;

use tollgate_domain::Failure;
use tollgate_proto::v1::{Message, Part, Role, ToolCallPart, ToolResultPart, part::Content};

use super::{Host, media, model::Generation};
use crate::{
    Unsupported,
    conversation::{arguments_object, is_object, members, tool_names},
    json::{Object, array},
    provider::{cannot, invalid},
};

/// Stands for a signature in a history that never had one ("Thought signatures", frequently asked questions).
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// What the conversation becomes.
pub(super) struct Turns<'a> {
    host: Host,
    generation: Generation,
    names: HashMap<&'a str, &'a str>,
    system: Vec<String>,
    turns: Vec<Turn>,
    /// Ids of the calls of the model's last turn, in order.
    calls: Vec<&'a str>,
    pub(super) unsupported: Vec<Unsupported>,
    pub(super) dropped: Vec<String>,
}

struct Turn {
    role: &'static str,
    parts: Vec<(Kind, Object)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A call, and whether it is signed.
    Call(bool),
    /// The result of the call at this place among those of the turn before.
    Result(usize),
    Other,
}

impl<'a> Turns<'a> {
    pub(super) fn read(host: Host, model: &str, messages: &'a [Message]) -> Result<Self, Failure> {
        let mut turns = Self {
            host,
            generation: Generation::of(model),
            names: tool_names(messages),
            system: Vec::new(),
            turns: Vec::new(),
            calls: Vec::new(),
            unsupported: Vec::new(),
            dropped: Vec::new(),
        };
        for (i, message) in messages.iter().enumerate() {
            turns.message(message, &format!("messages[{i}]"))?;
        }
        if turns.generation == Generation::Levels {
            turns.turns.iter_mut().for_each(Turn::excuse);
        }
        Ok(turns)
    }

    /// The model goes on from here.
    pub(super) fn begin_answer(&mut self, beginning: &str) {
        self.push("model", Kind::Other, text(beginning));
    }

    /// The `systemInstruction`, where there is any.
    pub(super) fn system(&self) -> Option<String> {
        let mut instruction = Object::default();
        instruction.raw("parts", &array(&self.system));
        (!self.system.is_empty()).then(|| instruction.finish())
    }

    /// The `contents` array.
    pub(super) fn contents(&self) -> String {
        let content = |turn: &Turn| {
            let parts: Vec<_> = turn.parts.iter().map(|(_, part)| part.finish()).collect();
            let mut content = Object::default();
            content.field("role", turn.role).raw("parts", &array(&parts));
            content.finish()
        };
        array(&self.turns.iter().map(content).collect::<Vec<_>>())
    }

    fn message(&mut self, message: &'a Message, path: &str) -> Result<(), Failure> {
        for (j, part) in message.parts.iter().enumerate() {
            if !part.cache_control_json.is_empty() {
                self.dropped.push(format!("{path}.content[{j}].cache_control"));
            }
        }
        match message.role() {
            Role::System | Role::Developer => {
                for part in &message.parts {
                    match &part.content {
                        Some(Content::Text(part)) => self.system.push(text(&part.text).finish()),
                        _ => return Err(cannot(path, "a system message takes text only with this provider")),
                    }
                }
            }
            Role::User => {
                for (j, part) in message.parts.iter().enumerate() {
                    if let Some(part) = self.part(part, &format!("{path}.content[{j}]"))? {
                        self.push("user", Kind::Other, part);
                    }
                }
            }
            Role::Assistant => self.answer(message, path)?,
            Role::Tool => {
                for (j, part) in message.parts.iter().enumerate() {
                    if let Some(Content::ToolResult(result)) = &part.content {
                        self.result(result, &format!("{path}.content[{j}]"))?;
                    }
                }
            }
            Role::Unspecified => return Err(cannot(&format!("{path}.role"), "is not known to this provider")),
        }
        Ok(())
    }

    /// An earlier answer of the model's.
    fn answer(&mut self, message: &'a Message, path: &str) -> Result<(), Failure> {
        if self.turns.last().is_none_or(|turn| turn.role != "model") {
            self.calls.clear();
        }
        let parts = &message.parts;
        let is_call = |part: &Part| matches!(&part.content, Some(Content::ToolCall(_)));
        let first_call = parts.iter().position(is_call).unwrap_or(0);
        let is_signed = first_call.checked_sub(1).is_some_and(|at| signature(&parts[at]).is_some());
        // A signature before the text is then the first call's.
        let passes_text = self.generation == Generation::Levels && !is_signed;
        let mut pending = None;
        for (j, part) in parts.iter().enumerate() {
            let path = format!("{path}.content[{j}]");
            match &part.content {
                Some(Content::Reasoning(reasoning)) => {
                    let Some(signature) = signature(part) else {
                        // The provider knows its own reasoning by the signature.
                        self.dropped.push(format!("{path}.reasoning"));
                        continue;
                    };
                    self.leave(pending.replace(signature));
                    if !reasoning.text.is_empty() {
                        let mut thought = text(&reasoning.text);
                        thought.field("thought", &true);
                        self.push("model", Kind::Other, thought);
                    }
                }
                Some(Content::ToolCall(call)) => {
                    self.calls.push(&call.id);
                    let signature = pending.take();
                    let mut part = function_call(call, &path)?;
                    part.maybe("thoughtSignature", signature);
                    self.push("model", Kind::Call(signature.is_some()), part);
                }
                Some(Content::Text(said)) if said.text.is_empty() => {}
                _ => {
                    if let Some(mut part) = self.part(part, &path)? {
                        if !(passes_text && j < first_call) {
                            part.maybe("thoughtSignature", pending.take());
                        }
                        self.push("model", Kind::Other, part);
                    }
                }
            }
        }
        self.leave(pending);
        Ok(())
    }

    /// A signature that nothing followed.
    fn leave(&mut self, signature: Option<&str>) {
        if let Some(signature) = signature {
            let mut part = text("");
            part.field("thoughtSignature", signature);
            self.push("model", Kind::Other, part);
        }
    }

    fn part(&mut self, part: &Part, path: &str) -> Result<Option<Object>, Failure> {
        Ok(Some(match &part.content {
            Some(Content::Text(part)) if part.text.is_empty() => return Ok(None),
            Some(Content::Text(part)) => text(&part.text),
            Some(Content::Refusal(part)) => text(&part.text),
            Some(Content::Image(image)) => media::image(self.host, image, path)?,
            Some(Content::Audio(audio)) => media::audio(audio, path)?,
            Some(Content::File(file)) => media::file(self.host, file, path)?,
            Some(Content::Opaque(opaque)) if is_native(&opaque.json) => {
                let mut part = Object::default();
                part.merge(&opaque.json);
                part
            }
            Some(Content::Opaque(opaque)) => {
                // Parts of the model's own that are not parts here: what they tell is not asked for again.
                match opaque.r#type.is_empty() {
                    true => self.dropped.push(path.to_owned()),
                    false => self.unsupported.push(Unsupported::new(path)),
                }
                return Ok(None);
            }
            Some(Content::ToolCall(_) | Content::Reasoning(_)) => {
                return Err(invalid(path, "belongs in a message of the assistant's"));
            }
            Some(Content::ToolResult(_)) => return Err(invalid(path, "a tool result belongs in a tool message")),
            None => return Ok(None),
        }))
    }

    /// Results say which function they are of, and two of one function are told apart by their order alone.
    fn result(&mut self, result: &ToolResultPart, path: &str) -> Result<(), Failure> {
        let id = result.tool_call_id.as_str();
        let Some(name) = self.names.get(id).copied() else {
            return Err(invalid(&format!("{path}.tool_call_id"), "quotes no call of this conversation"));
        };
        let mut said = String::new();
        let mut media = Vec::new();
        for (k, part) in result.content.iter().enumerate() {
            match &part.content {
                Some(Content::Text(text)) => said.push_str(&text.text),
                _ => media.extend(self.part(part, &format!("{path}[{k}]"))?),
            }
        }
        let mut wrapped = Object::default();
        let response = match (result.is_error, is_object(&said)) {
            (Some(true), _) => wrapped.field("error", &said).finish(),
            (_, true) => said,
            (_, false) => wrapped.field("result", &said).finish(),
        };
        let mut function = Object::default();
        function.field("name", name).raw("response", &response);
        if self.generation == Generation::Levels && !media.is_empty() {
            let parts: Vec<_> = media.drain(..).map(|part| part.finish()).collect();
            function.raw("parts", &array(&parts));
        }
        let mut part = Object::default();
        part.raw("functionResponse", &function.finish());
        let order = self.calls.iter().position(|call| *call == id).unwrap_or(self.calls.len());
        let turn = self.turn("user");
        let is_before = |kind: &Kind| matches!(kind, Kind::Result(other) if *other <= order);
        let at = turn.parts.iter().take_while(|(kind, _)| is_before(kind)).count();
        turn.parts.insert(at, (Kind::Result(order), part));
        // Models before them take nothing but JSON as a result: the rest stands beside it.
        turn.parts.extend(media.into_iter().map(|part| (Kind::Other, part)));
        Ok(())
    }

    fn push(&mut self, role: &'static str, kind: Kind, part: Object) {
        self.turn(role).parts.push((kind, part));
    }

    fn turn(&mut self, role: &'static str) -> &mut Turn {
        if self.turns.last().is_none_or(|turn| turn.role != role) {
            self.turns.push(Turn { role, parts: Vec::new() });
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }
}

impl Turn {
    /// A first call that never had a signature is passed by without one.
    fn excuse(&mut self) {
        let first = self.parts.iter_mut().find(|(kind, _)| matches!(kind, Kind::Call(_)));
        if let Some((Kind::Call(false), part)) = first {
            part.field("thoughtSignature", NO_SIGNATURE);
        }
    }
}

fn signature(part: &Part) -> Option<&str> {
    match &part.content {
        Some(Content::Reasoning(reasoning)) => reasoning.signature.as_deref().filter(|s| !s.is_empty()),
        _ => None,
    }
}

fn text(text: &str) -> Object {
    let mut part = Object::default();
    part.field("text", text);
    part
}

fn function_call(call: &ToolCallPart, path: &str) -> Result<Object, Failure> {
    let mut function = Object::default();
    function.field("name", &call.name).raw("args", arguments_object(call, path)?);
    let mut part = Object::default();
    part.raw("functionCall", &function.finish());
    Ok(part)
}

/// Whether it is a part of theirs, which the contract carried as it was.
fn is_native(json: &str) -> bool {
    const NATIVE: [&str; 4] = ["inlineData", "fileData", "executableCode", "codeExecutionResult"];
    is_object(json) && members(json).iter().any(|name| NATIVE.contains(&name.as_str()))
}
