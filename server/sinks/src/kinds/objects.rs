//! Objects by date and hour, in S3, Google Cloud Storage, Azure Blob Storage or a local directory.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{Attribute, Attributes, ObjectStore, PutOptions, PutPayload, path::Path};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tollgate_objects::ObjectPlace;

use super::gzip;
use crate::{
    Event, json,
    target::{Report, Target, Why},
};

/// What an object looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// An event a line, many in an object.
    #[default]
    Ndjson,
    /// The same, gzipped.
    NdjsonGz,
    /// An object for each event.
    Json,
}

/// Objects.
#[derive(Clone, Debug)]
pub struct Objects {
    /// Where.
    pub place: ObjectPlace,
    /// Before the date in their names; empty: nothing.
    pub prefix: String,
    /// What they look like.
    pub form: Form,
}

impl Objects {
    pub(super) fn open(self, replica: &str) -> Result<Client, String> {
        Ok(Client {
            store: tollgate_objects::open(&self.place)?,
            prefix: self.prefix,
            form: self.form,
            replica: replica.to_owned(),
        })
    }
}

pub(super) struct Client {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    form: Form,
    replica: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Events of one hour, and of one object.
    fn group<'a>(&self, batch: &'a [Event]) -> &'a [Event] {
        let Some(first) = batch.first() else { return batch };
        let same = batch.iter().take_while(|event| hour(event) == hour(first)).count();
        &batch[..if self.form == Form::Json { 1 } else { same }]
    }

    /// `PREFIX/2026/11/22/01/REPLICA-FIRST-LAST-HASH.ndjson`: the same events give the same name, so that a repetition is no second object.
    fn name(&self, group: &[Event]) -> Path {
        let (first, last) = (group.first(), group.last());
        let sequence = |event: Option<&Event>| event.map_or(0, |event| event.record().sequence);
        let mut hash = Sha256::new();
        group.iter().for_each(|event| hash.update(event.id.as_bytes()));
        let hash: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let ending = match self.form {
            Form::Ndjson => "ndjson",
            Form::NdjsonGz => "ndjson.gz",
            Form::Json => "json",
        };
        let span = match self.form {
            Form::Json => format!("{:020}", sequence(first)),
            _ => format!("{:020}-{:020}-{hash}", sequence(first), sequence(last)),
        };
        let date = first.map(hour).unwrap_or_default();
        let prefix = self.prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        Path::from(format!("{prefix}{slash}{date}/{}-{span}.{ending}", self.replica))
    }

    async fn put(&self, group: &[Event]) -> Result<(), Why> {
        let mut lines = Vec::new();
        for event in group {
            lines.extend(Value::Object(json::whole(event)).to_string().into_bytes());
            lines.push(b'\n');
        }
        let (bytes, content_type) = match self.form {
            Form::Ndjson => (lines, "application/x-ndjson"),
            Form::NdjsonGz => (gzip(&lines), "application/gzip"),
            Form::Json => (lines, "application/json"),
        };
        let mut options = PutOptions::default();
        // A local file has no attributes.
        if !self.store.to_string().starts_with("LocalFileSystem") {
            options.attributes = Attributes::from_iter([(Attribute::ContentType, content_type)]);
        }
        let put = self.store.put_opts(&self.name(group), PutPayload::from(Bytes::from(bytes)), options).await;
        put.map(drop).map_err(|error| Why::Later { reason: excerpt(&error.to_string()), after: None })
    }
}

/// `2026/11/22/01`, UTC.
fn hour(event: &Event) -> String {
    let time = crate::event::rfc3339(event.end_us());
    let date = time.get(..13).unwrap_or("0000-00-00T00");
    date.replace(['-', 'T'], "/")
}

fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[async_trait]
impl Target for Client {
    async fn send(&self, batch: &[Event], limit: Duration) -> Report {
        let mut done = 0;
        while done < batch.len() {
            let group = self.group(&batch[done..]);
            let late = || Why::Later { reason: format!("no answer within {limit:?}"), after: None };
            if let Err(why) = timeout(limit, self.put(group)).await.unwrap_or_else(|_| Err(late())) {
                return Report { done, why: Some(why), ..Report::default() };
            }
            done += group.len();
        }
        Report::all(batch)
    }
}
