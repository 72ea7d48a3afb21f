//! An answer that breaks when a part of it has reached the caller, and goes on at another deployment.

use tollgate_domain::Failure;
use tollgate_proto::v1::{CompletionEvent, Delta, MidstreamPolicy, Restarted, completion_event::Event, delta::Piece};
use tollgate_providers::Mode;

use crate::Call;

/// What of an answer has reached the caller, as far as it matters for whoever takes over.
pub(crate) struct Told {
    policy: MidstreamPolicy,
    /// The caller has seen something: not so, who waits for the whole answer.
    is_seen: bool,
    /// The text so far, kept only where it may be gone on with.
    text: String,
    /// The part that is being written, and what it is.
    open: Option<(u32, Kind)>,
    /// More than plain text of one choice.
    intricate: bool,
    has_tool_call: bool,
    has_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
    Other,
}

/// What becomes of the call's answer if it breaks. `group`: what its model says.
pub(crate) fn policy(call: &Call, group: MidstreamPolicy) -> MidstreamPolicy {
    let of_call = call.options().map_or(MidstreamPolicy::Unspecified, |o| o.on_midstream_failure());
    if of_call == MidstreamPolicy::Unspecified { group } else { of_call }
}

/// How the next attempt takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Takeover {
    /// From the beginning.
    Restart,
    /// From here.
    Continue(Beginning),
}

/// The beginning of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    text: String,
    /// How much of it is sent: models refuse white space at the end, or stumble over it.
    sent: usize,
    /// The part that it ends in.
    part: u32,
}

impl Told {
    /// Nothing yet.
    pub(crate) fn nothing(policy: MidstreamPolicy, mode: Mode) -> Self {
        Told {
            policy: if mode == Mode::Whole { MidstreamPolicy::Restart } else { policy },
            is_seen: mode == Mode::Stream,
            text: String::new(),
            open: None,
            intricate: false,
            has_tool_call: false,
            has_ended: false,
        }
    }

    /// Watches an event pass.
    pub(crate) fn observe(&mut self, event: &CompletionEvent) {
        match &event.event {
            Some(Event::Delta(delta)) => self.delta(delta),
            Some(Event::PartDone(done)) => {
                self.open = self.open.filter(|(part, _)| *part != done.part);
            }
            Some(Event::Finished(_)) => self.has_ended = true,
            _ => {}
        }
    }

    fn delta(&mut self, delta: &Delta) {
        self.intricate |= delta.choice != 0;
        let kind = match &delta.piece {
            Some(Piece::Text(text)) => {
                if self.policy == MidstreamPolicy::Continue {
                    self.text.push_str(text);
                }
                Kind::Text
            }
            Some(Piece::Reasoning(_)) => Kind::Reasoning,
            // The end of its block.
            Some(Piece::ReasoningSignature(_) | Piece::ReasoningRedacted(_)) => Kind::Other,
            Some(Piece::ToolCallStart(_) | Piece::ToolArguments(_)) => {
                self.has_tool_call = true;
                Kind::Other
            }
            Some(Piece::Refusal(_) | Piece::OpaqueJson(_)) => {
                self.intricate = true;
                Kind::Other
            }
            None => return,
        };
        self.open = Some((delta.part, kind));
    }

    /// How another attempt may take over after `failure`; `None`: the call ends with it. `signs`: the provider signs reasoning.
    pub(crate) fn takeover(&self, failure: &Failure, signs: bool) -> Option<Takeover> {
        let in_reasoning = matches!(self.open, Some((_, Kind::Reasoning)));
        if !failure.class.worth_elsewhere() {
            return None;
        }
        if self.is_seen && (self.has_ended || self.has_tool_call || (in_reasoning && signs)) {
            return None;
        }
        match self.policy {
            MidstreamPolicy::Restart => Some(Takeover::Restart),
            MidstreamPolicy::Continue => {
                let sent = self.text.trim_end().len();
                let part = self.open.filter(|(_, kind)| *kind == Kind::Text).map(|(part, _)| part)?;
                let beginning = Beginning { text: self.text.clone(), sent, part };
                (!self.intricate && sent > 0).then_some(Takeover::Continue(beginning))
            }
            MidstreamPolicy::Unspecified | MidstreamPolicy::Fail => None,
        }
    }

    /// Another attempt starts over: nothing has been told.
    pub(crate) fn forget(&mut self) {
        *self = Told::nothing(self.policy, if self.is_seen { Mode::Stream } else { Mode::Whole });
    }
}

impl Takeover {
    /// In the contract's word.
    pub(crate) fn policy(&self) -> MidstreamPolicy {
        match self {
            Self::Restart => MidstreamPolicy::Restart,
            Self::Continue(_) => MidstreamPolicy::Continue,
        }
    }

    /// What the model goes on from.
    pub(crate) fn beginning(&self) -> Option<&str> {
        match self {
            Self::Restart => None,
            Self::Continue(beginning) => Some(&beginning.text[..beginning.sent]),
        }
    }

    /// The boundary between the two answers.
    pub(crate) fn event(&self, attempt: u32, failure: &Failure) -> CompletionEvent {
        let restarted = Restarted {
            attempt,
            reason: failure.class.name().into(),
            policy: self.policy() as i32,
            discard_from_seq: (*self == Self::Restart).then_some(0),
        };
        CompletionEvent { event: Some(Event::Restarted(restarted)), ..CompletionEvent::default() }
    }
}

/// Fits the events of an attempt that goes on into the answer that another began.
pub(crate) struct Joint {
    /// The part in which the answer broke.
    part: u32,
    /// White space that the caller has and the model was not given: it may write it once more.
    given: String,
    /// Added to the parts of this attempt, once its first piece has told.
    shift: Option<u32>,
}

impl Joint {
    pub(crate) fn new(takeover: &Takeover) -> Option<Self> {
        let Takeover::Continue(beginning) = takeover else { return None };
        Some(Joint { part: beginning.part, given: beginning.text[beginning.sent..].into(), shift: None })
    }

    pub(crate) fn fit(&mut self, event: &mut CompletionEvent) {
        match &mut event.event {
            Some(Event::Delta(delta)) => {
                let is_text = matches!(delta.piece, Some(Piece::Text(_)));
                // Whatever comes before the text is a part of its own.
                delta.part += *self.shift.get_or_insert(if is_text { self.part } else { self.part + 1 });
                if let Some(Piece::Text(text)) = &mut delta.piece {
                    self.skip_given(text);
                }
            }
            Some(Event::PartDone(done)) => done.part += self.shift.unwrap_or(self.part),
            _ => {}
        }
    }

    fn skip_given(&mut self, text: &mut String) {
        let again: usize =
            self.given.chars().zip(text.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
        let whole = again == text.len();
        text.replace_range(..again, "");
        self.given.replace_range(..again, "");
        if !whole {
            self.given.clear();
        }
    }
}

#[cfg(test)]
mod tests;
