//! What callers leave unfinished is settled here, off their path and awaited at shutdown. Nothing heavy happens in `Drop`.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinError,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate_ledger::Ledger;

use crate::{flow::FlowState, record::Unclosed};

/// How long what is cut may take to hand over what it holds.
const HANDING_OVER: Duration = Duration::from_secs(5);

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
    /// Calls and acts that go on when their callers have gone.
    alone: TaskTracker,
    cut: CancellationToken,
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
        Self { queue, ledger, alone: TaskTracker::new(), cut: CancellationToken::new() }
    }

    /// Runs a call that may go on when its caller has gone, until it ends: at `cut` soon.
    pub(crate) fn spawn_call(&self, call: impl Future<Output = ()> + Send + 'static) {
        self.alone.spawn(call);
    }

    /// Says when the time of calls that go on alone is over.
    pub(crate) fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    /// Runs an act to its end, whoever asked for it and goes; shutdown waits for it.
    pub async fn to_the_end<T: Send + 'static>(
        &self,
        act: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        self.alone.spawn(act).await
    }

    /// Waits until everything is settled. What goes on alone may do so until `end`; then calls are cut and hand over what they hold.
    /// Whether all of it has ended.
    pub async fn drained(&self, end: Instant) -> bool {
        self.alone.close();
        let mut has_ended = timeout_at(end, self.alone.wait()).await.is_ok();
        if !has_ended {
            self.cut.cancel();
            has_ended = timeout(HANDING_OVER, self.alone.wait()).await.is_ok();
        }
        let (done, wait) = oneshot::channel();
        if self.queue.send(Unfinished::Barrier(done)).is_ok() {
            let _ = wait.await;
        }
        has_ended
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    pub(crate) fn hand_over(&self, work: Unfinished) {
        let Err(mpsc::error::SendError(work)) = self.queue.send(work) else { return };
        match work {
            Unfinished::Record(record) => {
                self.ledger.end(record.abandoned());
            }
            Unfinished::Flow(state) => state.abandon(),
            Unfinished::Barrier(_) => {}
        }
    }
}
