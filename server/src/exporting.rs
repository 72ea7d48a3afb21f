//! The audit log's copy elsewhere: opened at the start, and asked how it goes.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tollgate_domain::Clock;
use tollgate_export::{ExportError, Exporter, Status};
use tollgate_objects::Vault;
use tollgate_store::AuditLogs;

use crate::config::AuditSettings;

/// A bucket that does not answer by then is asked again later, and the gateway starts.
const QUESTION: Duration = Duration::from_secs(10);

/// Exports from now on, where that is set. Refused where the bucket says that it cannot lock what the settings want locked.
pub(crate) async fn start(
    settings: &AuditSettings,
    logs: &Arc<dyn AuditLogs>,
    clock: &Clock,
) -> anyhow::Result<Option<Arc<Status>>> {
    let Some(export) = &settings.export else { return Ok(None) };
    let options = export.read().map_err(anyhow::Error::msg).context("audit.export")?;
    let vault = Vault::open(options.place, &options.prefix, options.lock).map_err(anyhow::Error::msg);
    let exporter = Exporter::new(logs.clone(), vault.context("audit.export")?, options.every, clock.clone());
    if let Ok(Ok(false)) = tokio::time::timeout(QUESTION, exporter.can_lock()).await {
        return Err(ExportError::NoLock.into());
    }
    let status = exporter.status();
    tokio::spawn(exporter.keep());
    Ok(Some(status))
}
