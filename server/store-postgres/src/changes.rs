//! What admins change at other replicas: told at once by LISTEN, found by polling where that is lost.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::Notify;

use crate::PostgresStore;

/// Rings `changed` whenever an object may have changed anywhere: within milliseconds, and every 500 ms as the net below. Runs until it is
/// dropped.
pub async fn watch_changes(store: PostgresStore, changed: &Notify) {
    loop {
        if let Err(error) = listen(&store, changed).await {
            tracing::debug!(%error, "no longer told of changes; polling");
        }
        changed.notify_one();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn listen(store: &PostgresStore, changed: &Notify) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(&store.pool).await?;
    listener.listen("tollgate_object").await?;
    loop {
        match tokio::time::timeout(Duration::from_millis(500), listener.try_recv()).await {
            Ok(Ok(Some(_))) | Err(_) => changed.notify_one(),
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
        }
    }
}
