//! An answer as it grows: its parts numbered, each told once when it is done. What every decoder writes its events with.

use tollgate_proto::v1::{
    CompletionEvent, Delta, FinishReason, Finished, PartDone, Started, ToolCallStart, completion_event::Event,
    delta::Piece,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
    Refusal,
    Other,
}

/// One choice of an answer. What comes behind its end is none of it.
pub(crate) struct Choice {
    index: u32,
    next_part: u32,
    /// The part that grows now, unless it is a tool call.
    open: Option<(Kind, u32)>,
    tools: Vec<Tool>,
    is_finished: bool,
}

struct Tool {
    /// What the provider calls it by: its index or block.
    key: u32,
    part: u32,
    id: String,
    type_native: String,
    /// Whether the start was told: it waits for the name.
    is_told: bool,
    has_arguments: bool,
}

/// A piece of a tool call, as far as a provider gives it.
#[derive(Default)]
pub(crate) struct ToolPiece {
    /// What the provider calls it by; `None`: whole answers number nothing, each call is the next one.
    pub(crate) key: Option<u32>,
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    /// A fragment of the arguments' text.
    pub(crate) arguments: Option<String>,
    /// The call's type when it is not `function`.
    pub(crate) type_native: Option<String>,
}

impl Choice {
    pub(crate) fn new(index: u32) -> Self {
        Self { index, next_part: 0, open: None, tools: Vec::new(), is_finished: false }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished
    }

    pub(crate) fn has_tools(&self) -> bool {
        !self.tools.is_empty()
    }

    pub(crate) fn text(&mut self, text: impl Into<String>, out: &mut Vec<CompletionEvent>) {
        self.grow(Kind::Text, text.into(), Piece::Text, out);
    }

    pub(crate) fn reasoning(&mut self, text: impl Into<String>, out: &mut Vec<CompletionEvent>) {
        self.grow(Kind::Reasoning, text.into(), Piece::Reasoning, out);
    }

    /// The signature of the reasoning that grows now; of an empty one where none does.
    pub(crate) fn signature(&mut self, signature: impl Into<String>, out: &mut Vec<CompletionEvent>) {
        self.grow(Kind::Reasoning, signature.into(), Piece::ReasoningSignature, out);
    }

    /// Reasoning that the provider keeps encrypted: a part of its own.
    pub(crate) fn redacted(&mut self, data: impl Into<String>, out: &mut Vec<CompletionEvent>) {
        self.alone(Piece::ReasoningRedacted(data.into()), out);
    }

    pub(crate) fn refusal(&mut self, text: impl Into<String>, out: &mut Vec<CompletionEvent>) {
        self.grow(Kind::Refusal, text.into(), Piece::Refusal, out);
    }

    /// A part that the contract does not know: JSON text.
    pub(crate) fn opaque(&mut self, json: impl Into<String>, out: &mut Vec<CompletionEvent>) {
        self.alone(Piece::OpaqueJson(json.into()), out);
    }

    /// Empty text says nothing.
    fn grow(&mut self, kind: Kind, text: String, piece: fn(String) -> Piece, out: &mut Vec<CompletionEvent>) {
        if text.is_empty() || self.is_finished {
            return;
        }
        let part = match self.open {
            Some((open, part)) if open == kind => part,
            _ => self.open_part(kind, out),
        };
        push_piece(self.index, part, piece(text), out);
    }

    /// A part that comes in one piece.
    fn alone(&mut self, piece: Piece, out: &mut Vec<CompletionEvent>) {
        if self.is_finished {
            return;
        }
        let part = self.open_part(Kind::Other, out);
        push_piece(self.index, part, piece, out);
    }

    fn open_part(&mut self, kind: Kind, out: &mut Vec<CompletionEvent>) -> u32 {
        self.close_part(out);
        let part = self.take_part();
        self.open = Some((kind, part));
        part
    }

    /// Takes a piece of a tool call. Id and name are set once; the same key with another id is another call.
    pub(crate) fn tool(&mut self, piece: ToolPiece, out: &mut Vec<CompletionEvent>) {
        if self.is_finished {
            return;
        }
        self.close_part(out);
        let id = piece.id.filter(|id| !id.is_empty());
        let key = piece.key.unwrap_or(match &id {
            Some(_) => self.tools.len() as u32,
            None => self.tools.len().saturating_sub(1) as u32,
        });
        let known = self.tools.iter().rposition(|t| t.key == key && id.as_ref().is_none_or(|id| *id == t.id));
        let at = known.unwrap_or_else(|| {
            let id = id.unwrap_or_else(|| format!("call_{}", uuid::Uuid::new_v4().simple()));
            let type_native = piece.type_native.filter(|k| k != "function").unwrap_or_default();
            let part = self.take_part();
            self.tools.push(Tool { key, part, id, type_native, is_told: false, has_arguments: false });
            self.tools.len() - 1
        });
        let tool = &mut self.tools[at];
        if let Some(name) = piece.name.filter(|n| !n.is_empty()) {
            tool.tell(self.index, name, out);
        }
        if let Some(text) = piece.arguments.filter(|t| !t.is_empty()) {
            // Arguments before a name: the name is not coming.
            tool.tell(self.index, String::new(), out);
            let text = if text == "null" && !tool.has_arguments { "{}".to_owned() } else { text };
            tool.has_arguments = true;
            push_piece(self.index, tool.part, Piece::ToolArguments(text), out);
        }
    }

    /// A tool call that comes whole.
    pub(crate) fn whole_tool(
        &mut self,
        id: Option<String>,
        name: String,
        arguments: String,
        out: &mut Vec<CompletionEvent>,
    ) {
        let key = Some(self.tools.len() as u32);
        self.tool(ToolPiece { key, id, name: Some(name), arguments: Some(arguments), type_native: None }, out);
    }

    /// The choice is complete; the first reason wins. Where tools were called, `stop` is `tool_calls`, whatever the provider says.
    pub(crate) fn finish(
        &mut self,
        reason: FinishReason,
        native_reason: impl Into<String>,
        stop_sequence: Option<String>,
        out: &mut Vec<CompletionEvent>,
    ) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        self.close(out);
        let reason = match reason {
            FinishReason::Stop if self.has_tools() => FinishReason::ToolCalls,
            told => told,
        };
        let native_reason = native_reason.into();
        push(
            out,
            Event::Finished(Finished { choice: self.index, reason: reason as i32, native_reason, stop_sequence }),
        );
    }

    /// The part that grows now is done.
    pub(crate) fn close_part(&mut self, out: &mut Vec<CompletionEvent>) {
        if let Some((_, part)) = self.open.take() {
            push(out, Event::PartDone(PartDone { choice: self.index, part }));
        }
    }

    fn close(&mut self, out: &mut Vec<CompletionEvent>) {
        self.close_part(out);
        for tool in &mut self.tools {
            tool.tell(self.index, String::new(), out);
            if !tool.has_arguments {
                push_piece(self.index, tool.part, Piece::ToolArguments("{}".into()), out);
            }
            push(out, Event::PartDone(PartDone { choice: self.index, part: tool.part }));
        }
    }

    fn take_part(&mut self) -> u32 {
        self.next_part += 1;
        self.next_part - 1
    }
}

impl Tool {
    fn tell(&mut self, choice: u32, name: String, out: &mut Vec<CompletionEvent>) {
        if !std::mem::replace(&mut self.is_told, true) {
            let start = ToolCallStart { id: self.id.clone(), name, type_native: self.type_native.clone() };
            push_piece(choice, self.part, Piece::ToolCallStart(start), out);
        }
    }
}

pub(crate) fn push(out: &mut Vec<CompletionEvent>, event: Event) {
    out.push(CompletionEvent { event: Some(event), ..CompletionEvent::default() });
}

/// Puts a head without a name before `out[from..]`, where a provider told of its answer before it told the answer's head.
pub(crate) fn started_first(is_started: &mut bool, from: usize, out: &mut Vec<CompletionEvent>) {
    if out.len() > from && !std::mem::replace(is_started, true) {
        let event = Some(Event::Started(Started::default()));
        out.insert(from, CompletionEvent { event, ..CompletionEvent::default() });
    }
}

pub(crate) fn push_piece(choice: u32, part: u32, piece: Piece, out: &mut Vec<CompletionEvent>) {
    push(out, Event::Delta(Delta { choice, part, piece: Some(piece), ..Delta::default() }));
}

/// Puts log probabilities (OpenAI's form; empty: none) on the first delta among `out[from..]`, or on one of their own.
pub(crate) fn attach_logprobs(choice: u32, logprobs: &str, from: usize, out: &mut Vec<CompletionEvent>) {
    if logprobs.is_empty() {
        return;
    }
    let deltas = out[from..].iter_mut().filter_map(|event| match &mut event.event {
        Some(Event::Delta(delta)) => Some(delta),
        _ => None,
    });
    match deltas.into_iter().next() {
        Some(first) => first.logprobs_json = logprobs.to_owned(),
        None => push(out, Event::Delta(Delta { choice, logprobs_json: logprobs.to_owned(), ..Delta::default() })),
    }
}
