//! What a configuration goes without whose secrets lead nowhere, where it is told to.

use super::{Config, MissingSecrets};

/// Takes out what cannot work, and tells what that is. Providers stay: their calls fail.
pub(super) fn go_without(config: &mut Config) -> Vec<String> {
    let mut told = Vec::new();
    if config.missing_secrets == MissingSecrets::RefuseStart {
        return told;
    }
    config.keys.retain(|key| match key.secret.resolve() {
        Ok(_) => true,
        Err(why) => {
            told.push(format!("keys: {:?} is not made: {why}", key.name));
            false
        }
    });
    let Some(store) = &mut config.store else { return told };
    if let Some(Err(why)) = store.redis_url.as_ref().map(super::SecretRef::resolve) {
        told.push(format!("store.redis_url: Redis is not used: {why}"));
        store.redis_url = None;
    }
    if let Err(why) = store.postgres_url.resolve() {
        told.push(format!("store.postgres_url: the embedded database is used: {why}"));
        config.store = None;
    }
    told
}
