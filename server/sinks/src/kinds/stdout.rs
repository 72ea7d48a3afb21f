//! A line of JSON for each event, to standard output.

use std::{
    fmt,
    io::Write,
    sync::{Arc, mpsc as threads},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::{
    Event, json,
    target::{Report, Target, Why},
};

/// Where the lines go.
#[derive(Clone)]
pub struct WriteTo(Arc<Mutex<Box<dyn Write + Send>>>);

impl WriteTo {
    /// To a writer that may block.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(writer))))
    }
}

impl Default for WriteTo {
    fn default() -> Self {
        Self::new(std::io::stdout())
    }
}

impl fmt::Debug for WriteTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteTo")
    }
}

/// Standard output.
#[derive(Clone, Debug, Default)]
pub struct Stdout {
    /// Standard output, or what stands for it.
    pub to: WriteTo,
}

type Lines = (Vec<u8>, oneshot::Sender<std::io::Result<()>>);

impl Stdout {
    /// A thread of its own writes: whoever does not read must not keep other sinks waiting.
    pub(super) fn open(self) -> Result<Writer, String> {
        let (lines, given) = threads::channel::<Lines>();
        let write = move || {
            for (lines, done) in given {
                let mut to = self.to.0.lock();
                let _ = done.send(to.write_all(&lines).and_then(|()| to.flush()));
            }
        };
        thread::Builder::new().name("sink-stdout".into()).spawn(write).map_err(|e| e.to_string())?;
        Ok(Writer(Mutex::new(lines)))
    }
}

pub(super) struct Writer(Mutex<threads::Sender<Lines>>);

#[async_trait]
impl Target for Writer {
    /// Without a limit: what is half written must not be written again.
    async fn send(&self, batch: &[Event], _: Duration) -> Report {
        let mut lines = Vec::new();
        for event in batch {
            lines.extend(Value::Object(json::whole(event)).to_string().into_bytes());
            lines.push(b'\n');
        }
        let (done, told) = oneshot::channel();
        let given = self.0.lock().send((lines, done)).is_ok();
        match told.await {
            Ok(Ok(())) if given => Report::all(batch),
            Ok(Err(error)) => Report::none(Why::Later { reason: error.to_string(), after: None }),
            _ => Report::none(Why::Later { reason: "nobody writes".into(), after: None }),
        }
    }
}
