//! `audit.export:`, as it is written, and as the exporter wants it.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use tollgate_objects::{Lock, LockMode, ObjectPlace};

use super::{
    SecretRef, Span,
    sinks::{azure, gcs, s3},
};

/// A copy of the audit log, brought up to date again and again. Exactly one place is given.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditExport {
    /// S3, or what speaks its protocol.
    pub s3: Option<S3Export>,
    /// Google Cloud Storage.
    pub gcs: Option<GcsExport>,
    /// Azure Blob Storage.
    pub azure: Option<AzureExport>,
    /// A directory of this machine, or one that is mounted.
    pub local: Option<LocalExport>,
    /// How often; from 1 second to 30 days.
    #[serde(default = "hourly")]
    pub every: Span,
    /// Whether nobody may change or delete what is exported before its time; S3 alone.
    #[serde(default)]
    pub object_lock: ObjectLock,
    /// For how long, from when a file is put; needed with `object_lock`, and of no use without.
    pub retain: Option<Span>,
}

const fn hourly() -> Span {
    Span::seconds(3_600)
}

/// Object lock of S3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectLock {
    /// None.
    #[default]
    None,
    /// Whoever has `s3:BypassGovernanceRetention` may lift it.
    Governance,
    /// Nobody can, the account's root user included.
    Compliance,
}

/// S3.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Export {
    /// The bucket.
    pub bucket: String,
    /// The region; absent: `us-east-1`.
    pub region: Option<String>,
    /// Where it is, for what is not AWS.
    pub endpoint: Option<String>,
    /// A key; goes with `secret_access_key`. Absent: as the machine is known (container, web identity, instance).
    pub access_key_id: Option<SecretRef>,
    /// Its secret.
    pub secret_access_key: Option<SecretRef>,
    /// Token of a session that the key belongs to.
    pub session_token: Option<SecretRef>,
    /// What the names of objects begin with.
    #[serde(default)]
    pub prefix: String,
}

/// Google Cloud Storage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GcsExport {
    /// The bucket.
    pub bucket: String,
    /// JSON of a service account: `file:PATH` or `env:NAME`; absent: the machine's.
    pub service_account: Option<SecretRef>,
    /// Where an emulator is; it is asked without credentials.
    pub endpoint: Option<String>,
    /// What the names of objects begin with.
    #[serde(default)]
    pub prefix: String,
}

/// Azure Blob Storage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureExport {
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// The account's key; absent: the machine's identity.
    pub access_key: Option<SecretRef>,
    /// Where it is, for what is not Azure itself.
    pub endpoint: Option<String>,
    /// What the names of objects begin with.
    #[serde(default)]
    pub prefix: String,
}

/// A directory.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalExport {
    /// The directory; made where it is missing.
    pub dir: PathBuf,
}

/// As the exporter wants it.
#[derive(Debug)]
pub(crate) struct ExportOptions {
    pub(crate) place: ObjectPlace,
    pub(crate) prefix: String,
    pub(crate) every: Duration,
    pub(crate) lock: Option<Lock>,
}

/// A hundred years.
const LONGEST: Duration = Duration::from_secs(36_525 * 86_400);

impl AuditExport {
    /// Every secret that it names.
    pub(super) fn secrets(&self) -> Vec<&SecretRef> {
        let s3 = self.s3.iter().flat_map(|it| {
            it.access_key_id.iter().chain(&it.secret_access_key).chain(&it.session_token).collect::<Vec<_>>()
        });
        let gcs = self.gcs.iter().flat_map(|it| &it.service_account);
        s3.chain(gcs).chain(self.azure.iter().flat_map(|it| &it.access_key)).collect()
    }

    /// Reads it; the error begins with the setting.
    pub(crate) fn read(&self) -> Result<ExportOptions, String> {
        let every = self.every.duration();
        if !(Duration::from_secs(1)..=Duration::from_secs(30 * 86_400)).contains(&every) {
            return Err("every: must be from 1 second to 30 days".into());
        }
        let lock = self.lock(every)?;
        let (place, prefix) = self.place()?;
        if lock.is_some() && !matches!(place, ObjectPlace::S3(_)) {
            return Err("object_lock: only S3 has one; see docs/audit-export.md for what the others have".into());
        }
        Ok(ExportOptions { place, prefix, every, lock })
    }

    fn lock(&self, every: Duration) -> Result<Option<Lock>, String> {
        let mode = match (self.object_lock, self.retain) {
            (ObjectLock::None, None) => return Ok(None),
            (ObjectLock::None, Some(_)) => {
                return Err("retain: is kept by object lock alone; set object_lock to compliance or governance".into());
            }
            (_, None) => return Err("retain: say for how long what is exported is locked, such as 400d".into()),
            (ObjectLock::Governance, _) => LockMode::Governance,
            (ObjectLock::Compliance, _) => LockMode::Compliance,
        };
        let retain = self.retain.map(Span::duration).unwrap_or_default();
        if retain < every || retain > LONGEST {
            return Err("retain: must be at least as long as every, and at most 36525 days".into());
        }
        Ok(Some(Lock { mode, retain }))
    }

    fn place(&self) -> Result<(ObjectPlace, String), String> {
        let mut places = Vec::new();
        if let Some(it) = &self.s3 {
            let key = [&it.access_key_id, &it.secret_access_key, &it.session_token];
            places.push((s3(&it.bucket, &it.region, &it.endpoint, key)?, it.prefix.clone()));
        }
        if let Some(it) = &self.gcs {
            places.push((gcs(&it.bucket, &it.service_account, &it.endpoint)?, it.prefix.clone()));
        }
        if let Some(it) = &self.azure {
            places.push((azure(&it.account, &it.container, &it.access_key, &it.endpoint)?, it.prefix.clone()));
        }
        if let Some(it) = &self.local {
            places.push((ObjectPlace::Local { dir: it.dir.clone() }, String::new()));
        }
        match (places.pop(), places.is_empty()) {
            (Some(place), true) => Ok(place),
            _ => Err("names one place: s3, gcs, azure or local".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<ExportOptions, String> {
        serde_yaml_ng::from_str::<AuditExport>(yaml).map_err(|e| e.to_string())?.read()
    }

    #[test]
    fn a_locked_bucket_is_read_with_its_time() {
        let read =
            read("{ s3: { bucket: audit, prefix: p }, every: 5m, object_lock: compliance, retain: 400d }").unwrap();
        let retain = Duration::from_secs(400 * 86_400);
        assert_eq!(read.lock, Some(Lock { mode: LockMode::Compliance, retain }));
        assert_eq!((read.every, read.prefix.as_str()), (Duration::from_secs(300), "p"));
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_setting() {
        for (yaml, setting) in [
            ("{}", "names one place"),
            ("{ local: { dir: /a }, s3: { bucket: b } }", "names one place"),
            ("{ local: { dir: /a }, every: 10ms }", "every: "),
            ("{ local: { dir: /a }, object_lock: compliance, retain: 1d }", "object_lock: only S3"),
            ("{ s3: { bucket: b }, object_lock: compliance }", "retain: say"),
            ("{ s3: { bucket: b }, retain: 1d }", "retain: is kept by object lock"),
            ("{ s3: { bucket: b }, object_lock: governance, retain: 1m }", "retain: must be"),
            ("{ s3: { bucket: b, access_key_id: a } }", "s3: access_key_id and secret_access_key go together"),
            (
                "{ s3: { bucket: b, access_key_id: 'env:TOLLGATE_TEST_NOT_SET', secret_access_key: b } }",
                "s3.access_key_id: ",
            ),
        ] {
            let error = read(yaml).unwrap_err();
            assert!(error.starts_with(setting), "{yaml}: {error}");
        }
    }
}
