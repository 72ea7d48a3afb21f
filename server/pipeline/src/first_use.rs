//! Keys that another gateway issued, when they are used for the first time here: only then is their secret known, and a digest of our own
//! can be kept instead of what was imported. A call does not wait for that.

use dashmap::DashSet;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A key that was used, and the digest to keep of it from now on.
#[derive(Clone, Debug)]
pub struct FirstUse {
    /// The key.
    pub key_id: String,
    /// The keyed digest of its secret.
    pub digest: Vec<u8>,
}

/// Tells of first uses: each key once until it is dealt with, however many calls it makes.
pub struct FirstUses {
    told: DashSet<String>,
    sender: UnboundedSender<FirstUse>,
    receiver: Mutex<Option<UnboundedReceiver<FirstUse>>>,
}

impl Default for FirstUses {
    fn default() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self { told: DashSet::new(), sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl FirstUses {
    /// A key was used.
    pub(crate) fn tell(&self, key_id: &str, digest: impl FnOnce() -> Vec<u8>) {
        if self.told.contains(key_id) || !self.told.insert(key_id.to_owned()) {
            return;
        }
        // Nobody listens where nothing is kept.
        let _ = self.sender.send(FirstUse { key_id: key_id.to_owned(), digest: digest() });
    }

    /// Where they are told; `None` for all but the first who asks.
    pub fn listen(&self) -> Option<UnboundedReceiver<FirstUse>> {
        self.receiver.lock().take()
    }

    /// The key's new digest is kept, or cannot be now: its next use is told again if it must be.
    pub fn dealt_with(&self, key_id: &str) {
        self.told.remove(key_id);
    }
}
