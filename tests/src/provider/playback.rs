//! Writing an answer at the script's pace, and breaking off where it says so.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, SizeHint};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::log::{Attempt, Outcome};
use super::script::{Cut, Malformed, Step};

/// One event of a stream.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    pub(super) tokens: u64,
    pub(super) kind: Kind,
}

/// What an event is to the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Opens the content that follows: written at once, not counted.
    Head,
    /// A content delta: counted, paced, billed.
    Delta,
    /// Comes after the content, at once.
    Tail,
}

impl Frame {
    pub(super) fn new(kind: Kind, tokens: u64, bytes: impl Into<Bytes>) -> Self {
        Frame { bytes: bytes.into(), tokens, kind }
    }
}

/// A way to make a connection end with a reset: the connection looks at the flag when it is dropped.
pub(super) type ResetFlag = Arc<AtomicBool>;

#[derive(Debug, Clone)]
enum Break {
    Cut(Cut),
    Stall,
    Error(Bytes),
}

/// The body of every answer.
#[derive(Debug)]
pub(super) enum Reply {
    /// A body written in one piece.
    Whole(Option<Bytes>),
    /// A body written event by event.
    Played(Box<Playback>),
}

/// A stream being written.
#[derive(Debug)]
pub(super) struct Playback {
    frames: VecDeque<Frame>,
    attempt: Attempt,
    reset: ResetFlag,
    /// Deltas written so far.
    written: u32,
    broken: Option<(u32, Break)>,
    outcome: Outcome,
    first: Duration,
    gap: Duration,
    due: Instant,
    /// The next delta has been waited for.
    waited: bool,
    waiting: Option<Pin<Box<Sleep>>>,
    cutting: bool,
}

impl Playback {
    /// Plays an event stream under this step. `error` is the dialect's error event.
    pub(super) fn stream(
        mut frames: Vec<Frame>,
        error: Bytes,
        step: &Step,
        attempt: Attempt,
        reset: ResetFlag,
    ) -> Self {
        let mut outcome = Outcome::Complete;
        if let Some(malformed) = step.malformed {
            spoil(&mut frames, malformed);
            if malformed == Malformed::Sse {
                outcome = Outcome::Failed;
            }
        }
        let breaks = [
            step.cut_after_chunks.map(|at| (at, Break::Cut(step.cut.unwrap_or(Cut::Fin)))),
            step.stall_after_chunks.map(|at| (at, Break::Stall)),
            step.mid_stream_error_after.map(|at| (at, Break::Error(error))),
        ];
        let ms = |ms: Option<u64>| Duration::from_millis(ms.unwrap_or(0));
        Playback {
            frames: frames.into(),
            attempt,
            reset,
            written: 0,
            broken: breaks.into_iter().flatten().min_by_key(|(at, _)| *at),
            outcome,
            first: ms(step.first_token_ms),
            gap: ms(step.chunk_delay_ms),
            due: Instant::now(),
            waited: false,
            waiting: None,
            cutting: false,
        }
    }

    /// Plays the first half of a whole body and breaks off. The tokens have been billed before.
    pub(super) fn half(body: &Bytes, step: &Step, attempt: Attempt, reset: ResetFlag) -> Self {
        let half = Frame::new(Kind::Head, 0, body.slice(..body.len() / 2));
        let at_once = Step {
            cut_after_chunks: step.cut_after_chunks.map(|_| 0),
            stall_after_chunks: step.stall_after_chunks.map(|_| 0),
            cut: step.cut,
            ..Step::default()
        };
        Playback::stream(vec![half], Bytes::new(), &at_once, attempt, reset)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, std::io::Error>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(context));
                self.waiting = None;
            }
            if self.cutting {
                self.attempt.end(Outcome::ScriptedCut);
                return Poll::Ready(Some(Err(std::io::Error::other("cut by the script"))));
            }
            if self.breaks_now() {
                match self.broken.take() {
                    Some((_, Break::Cut(how))) => self.cut(how),
                    Some((at, Break::Stall)) => {
                        self.broken = Some((at, Break::Stall));
                        return Poll::Pending; // woken by nothing but the connection's end
                    }
                    Some((_, Break::Error(event))) => {
                        self.outcome = Outcome::Failed;
                        self.frames = [Frame::new(Kind::Tail, 0, event)].into();
                    }
                    None => {}
                }
                continue;
            }
            if self.next_kind() == Some(Kind::Delta) && !self.waited {
                self.waited = true;
                self.wait();
                continue;
            }
            return Poll::Ready(self.write().map(Ok));
        }
    }

    /// Gives what was written time to leave and to be read: a reset would take it back.
    fn cut(&mut self, how: Cut) {
        self.reset.store(how == Cut::Rst, Ordering::Relaxed);
        self.waiting = Some(Box::pin(sleep(Duration::from_millis(20))));
        self.cutting = true;
    }

    fn wait(&mut self) {
        let pause = if self.written == 0 { self.first } else { self.gap };
        if !pause.is_zero() {
            // Counted from when the delta before was due, so that small delays do not add up.
            self.due = if self.written == 0 { Instant::now() + pause } else { self.due + pause };
            self.waiting = Some(Box::pin(sleep_until(self.due)));
        } else if self.written == 0 {
            self.due = Instant::now();
        }
    }

    fn write(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        let delta = frame.kind == Kind::Delta;
        self.attempt.wrote(frame.tokens, delta);
        self.written += u32::from(delta);
        self.waited = false;
        if self.ended() {
            self.attempt.end(self.outcome);
        }
        Some(frame.bytes)
    }

    fn next_kind(&self) -> Option<Kind> {
        self.frames.front().map(|frame| frame.kind)
    }

    /// Whether the script breaks off before the next frame, or behind the last.
    fn breaks_now(&self) -> bool {
        let next = self.next_kind();
        self.broken.as_ref().is_some_and(|(at, _)| match *at {
            Step::BEHIND_THE_END => next.is_none(),
            at => at == self.written && next != Some(Kind::Head),
        })
    }

    fn ended(&self) -> bool {
        self.frames.is_empty() && !self.cutting && !self.breaks_now()
    }
}

/// Breaks the middle delta of a stream.
fn spoil(frames: &mut Vec<Frame>, malformed: Malformed) {
    let deltas: Vec<_> = frames.iter().enumerate().filter(|(_, frame)| frame.kind == Kind::Delta).collect();
    let Some(middle) = deltas.get(deltas.len() / 2).map(|(at, _)| *at) else {
        return;
    };
    let bytes = &frames[middle].bytes;
    let half = bytes.slice(..bytes.len() / 2);
    match malformed {
        Malformed::Json => frames[middle].bytes = [&half[..], b"\n\n"].concat().into(),
        Malformed::Sse => {
            frames[middle].bytes = half;
            frames.truncate(middle + 1);
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Reply::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(hyper::body::Frame::data(bytes)))),
            Reply::Played(playback) => {
                playback.poll(context).map(|next| next.map(|bytes| bytes.map(hyper::body::Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Reply::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Reply::Played(playback) => playback.ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Reply::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Reply::Played(_) => SizeHint::default(),
        }
    }
}
