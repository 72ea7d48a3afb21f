//! What a replica needs to serve while the ledger of record is away at its start: keys, budgets, teams, as it said last.
//!
//! A file of the data directory, mode 600, signed with what `store.secret` derives: whoever can write there cannot mint keys.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use hmac::{Hmac, KeyInit, Mac};
use prost::Message;
use sha2::Sha256;
use tollgate_ledger::Ledger;
use tollgate_store::{Object, Store};

use crate::secrets;

/// How often changes are looked for.
const LOOK: Duration = Duration::from_secs(2);
/// At the latest so often it is written, changed or not: its age says for how long the ledger of record has been away.
const AGAIN: Duration = Duration::from_secs(60);
const SIGNATURE_BYTES: usize = 32;

#[derive(Clone, PartialEq, Message)]
struct Versioned {
    #[prost(int64, tag = "1")]
    version: i64,
    #[prost(message, optional, tag = "2")]
    object: Option<Object>,
}

#[derive(Clone, PartialEq, Message)]
struct Content {
    /// When it was written, microseconds since the epoch.
    #[prost(int64, tag = "1")]
    time_us: i64,
    /// By how much the ledger of record's clock was ahead.
    #[prost(int64, tag = "2")]
    skew_us: i64,
    #[prost(message, repeated, tag = "3")]
    objects: Vec<Versioned>,
}

/// A snapshot as it was found.
pub(crate) struct Snapshot {
    pub(crate) age: Duration,
    pub(crate) skew_us: i64,
    pub(crate) objects: Vec<(i64, Object)>,
}

/// Where it is kept, and what signs it.
pub(crate) struct Place {
    path: PathBuf,
    key: Vec<u8>,
}

impl Place {
    pub(crate) fn new(dir: &Path, key: Vec<u8>) -> Self {
        Self { path: dir.join("snapshot"), key }
    }

    fn signer(&self) -> anyhow::Result<Hmac<Sha256>> {
        Hmac::<Sha256>::new_from_slice(&self.key).context("the key of snapshots")
    }

    /// Reads it; refused when it is missing, damaged or older than `max_age`.
    pub(crate) fn read(&self, now_us: i64, max_age: Duration) -> anyhow::Result<Snapshot> {
        let path = self.path.display();
        let bytes = std::fs::read(&self.path).with_context(|| format!("there is no snapshot to start from: {path}"))?;
        let Some((signature, body)) = bytes.split_at_checked(SIGNATURE_BYTES) else { bail!("{path} is cut short") };
        let mut signer = self.signer()?;
        signer.update(body);
        let signed = signer.verify_slice(signature).is_ok();
        ensure!(signed, "{path} is damaged, or was signed with another store.secret");
        let content = Content::decode(body).with_context(|| format!("{path} is of another version"))?;
        let age = Duration::from_micros(u64::try_from(now_us - content.time_us).unwrap_or(0));
        ensure!(
            age <= max_age,
            "{path} is {} seconds old, and store.snapshot_max_age allows {}",
            age.as_secs(),
            max_age.as_secs()
        );
        let objects = content.objects.into_iter().filter_map(|v| Some((v.version, v.object?))).collect();
        Ok(Snapshot { age, skew_us: content.skew_us, objects })
    }

    fn write(&self, content: &Content) -> anyhow::Result<()> {
        let body = content.encode_to_vec();
        let mut signer = self.signer()?;
        signer.update(&body);
        let mut bytes = signer.finalize().into_bytes().to_vec();
        bytes.extend(body);
        Ok(secrets::write_private(&self.path, &bytes)?)
    }

    /// Keeps it up to date for as long as the gateway runs. `known_us` tells of when the last one is.
    pub(crate) async fn keep(self, store: Arc<dyn Store>, ledger: Arc<Ledger>, known_us: Arc<AtomicI64>) {
        let (mut version, mut written) = (None, tokio::time::Instant::now());
        loop {
            let due = version.is_none() || written.elapsed() >= AGAIN;
            match self.renew(&*store, &ledger, version.filter(|_| !due)).await {
                Ok(Some((newest, time_us))) => {
                    (version, written) = (Some(newest), tokio::time::Instant::now());
                    known_us.store(time_us, Ordering::Relaxed);
                }
                Ok(None) => {}
                Err(error) => tracing::debug!("the local snapshot is not renewed: {error:#}"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Writes it anew if anything changed after a version; tells the newest version and when that was.
    async fn renew(
        &self,
        store: &dyn Store,
        ledger: &Ledger,
        after: Option<i64>,
    ) -> anyhow::Result<Option<(i64, i64)>> {
        if let Some(after) = after
            && store.objects_after(after).await?.is_empty()
        {
            return Ok(None);
        }
        let all = store.objects_after(0).await?;
        let newest = all.iter().map(|(version, _)| *version).max().unwrap_or(0);
        let objects = all.into_iter().map(|(version, object)| Versioned { version, object: Some(object) }).collect();
        let content = Content { time_us: ledger.now_us(), skew_us: ledger.skew_us(), objects };
        let time_us = content.time_us;
        // Some milliseconds for many keys, and a sync: not between calls.
        tokio::task::block_in_place(|| self.write(&content))?;
        Ok(Some((newest, time_us)))
    }
}
