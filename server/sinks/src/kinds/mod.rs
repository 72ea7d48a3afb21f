//! Where sinks lead to: a file for each kind of receiver, with its own words on its own wire.

mod datadog;
mod helicone;
mod langfuse;
mod objects;
mod otlp;
mod sentry;
mod stdout;
mod webhook;

use std::{io::Write, sync::Arc, time::Duration};

pub use datadog::Datadog;
use flate2::{Compression, write::GzEncoder};
pub use helicone::Helicone;
use http::{HeaderName, HeaderValue, Request, request::Builder};
pub use langfuse::Langfuse;
pub use objects::{Form, Objects};
pub use otlp::Otlp;
pub use sentry::Sentry;
pub use stdout::{Stdout, WriteTo};
use tollgate_domain::Secret;
pub use webhook::Webhook;

use crate::{Batching, target::Target};

/// Where to, and what is needed to get in.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Langfuse: its ingestion API.
    Langfuse(Langfuse),
    /// Helicone: its log of custom calls.
    Helicone(Helicone),
    /// Datadog: its intake of logs.
    Datadog(Datadog),
    /// Objects in S3, Google Cloud Storage, Azure Blob Storage or a local directory.
    Objects(Objects),
    /// Sentry, for failures alone.
    Sentry(Sentry),
    /// Anything that takes JSON over HTTP.
    Webhook(Webhook),
    /// A collector of OpenTelemetry: logs over HTTP.
    Otlp(Otlp),
    /// Standard output, a line for each event.
    Stdout(Stdout),
}

impl Kind {
    /// Its name in settings, logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Langfuse(_) => "langfuse",
            Self::Helicone(_) => "helicone",
            Self::Datadog(_) => "datadog",
            Self::Objects(objects) => objects.place.name(),
            Self::Sentry(_) => "sentry",
            Self::Webhook(_) => "webhook",
            Self::Otlp(_) => "otlp",
            Self::Stdout(_) => "stdout",
        }
    }

    /// How records are best put together for it.
    pub fn batching(&self) -> Batching {
        match self {
            // An object for every two seconds would be many.
            Self::Objects(_) => Batching { max_records: 5_000, max_bytes: 8 << 20, max_age: Duration::from_secs(60) },
            _ => Batching::default(),
        }
    }

    pub(crate) fn open(&self, replica: &str) -> Result<Arc<dyn Target>, String> {
        Ok(match self.clone() {
            Self::Langfuse(langfuse) => Arc::new(langfuse.open()?),
            Self::Helicone(helicone) => Arc::new(helicone.open()?),
            Self::Datadog(datadog) => Arc::new(datadog.open(replica)?),
            Self::Objects(objects) => Arc::new(objects.open(replica)?),
            Self::Sentry(sentry) => Arc::new(sentry.open(replica)?),
            Self::Webhook(webhook) => Arc::new(webhook.open()?),
            Self::Otlp(otlp) => Arc::new(otlp.open(replica)?),
            Self::Stdout(stdout) => Arc::new(stdout.open()?),
        })
    }
}

/// A POST to a URL of the settings.
fn post(url: &str, content_type: &'static str) -> Builder {
    Request::post(url).header("content-type", content_type).header("user-agent", USER_AGENT)
}

const USER_AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));

/// Whether a URL can be posted to; the error names the setting, never the URL: there may be a secret in it.
fn checked(url: &str, setting: &str) -> Result<String, String> {
    let read = url::Url::parse(url).map_err(|e| format!("{setting}: is no URL: {e}"))?;
    match read.scheme() {
        "http" | "https" if read.host().is_some() => Ok(read.into()),
        _ => Err(format!("{setting}: must begin with https:// or http:// and name a host")),
    }
}

/// `base` without its slashes at the end, and a path behind it.
fn below(base: &str, path: &str, setting: &str) -> Result<String, String> {
    checked(&format!("{}{path}", base.trim_end_matches('/')), setting)
}

/// A header whose value is not shown.
fn secret_header(value: &str, setting: &str) -> Result<HeaderValue, String> {
    let mut value =
        HeaderValue::from_str(value).map_err(|_| format!("{setting}: has characters that no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Headers of the settings.
fn headers(given: &[(String, Secret)]) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let read = |(name, value): &(String, Secret)| {
        let read =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("headers.{name}: is no name of a header"))?;
        Ok((read, secret_header(value.expose(), &format!("headers.{name}"))?))
    };
    given.iter().map(read).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
