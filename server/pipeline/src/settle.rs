//! What callers leave unfinished is settled here, off their path and awaited at shutdown. Nothing heavy happens in `Drop`.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tollgate_ledger::Ledger;

use crate::{flow::FlowState, record::Unclosed};

/// Work that a dropped call hands over.
pub(crate) enum Unfinished {
    /// A record that only has to be written.
    Record(Box<Unclosed>),
    /// A call with money held and perhaps an attempt in flight.
    Flow(Box<FlowState>),
    /// Tells when everything before it is done.
    Barrier(oneshot::Sender<()>),
}

/// The settlement queue.
#[derive(Clone)]
pub struct Settler {
    queue: mpsc::UnboundedSender<Unfinished>,
    ledger: Arc<Ledger>,
}

impl Settler {
    /// Starts the task that works the queue off; it ends when the last clone is gone.
    pub fn start(ledger: Arc<Ledger>) -> Self {
        let (queue, mut unfinished) = mpsc::unbounded_channel();
        let of_task = ledger.clone();
        tokio::spawn(async move {
            while let Some(work) = unfinished.recv().await {
                match work {
                    Unfinished::Record(record) => {
                        of_task.end(record.abandoned());
                    }
                    Unfinished::Flow(state) => state.abandon(),
                    Unfinished::Barrier(done) => {
                        let _ = done.send(()); // whoever asked may have gone
                    }
                }
            }
        });
        Self { queue, ledger }
    }

    /// Waits until everything that was handed over is settled.
    pub async fn drained(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Unfinished::Barrier(done)).is_ok() {
            let _ = wait.await;
        }
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    pub(crate) fn hand_over(&self, work: Unfinished) {
        if let Err(mpsc::error::SendError(Unfinished::Record(record))) = self.queue.send(work) {
            self.ledger.end(record.abandoned());
        }
    }
}
