//! What a configuration goes without whose secrets lead nowhere, where it is told to.

use super::{Config, MissingSecrets, SecretRef};

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
    let missing = |secrets: Vec<&SecretRef>| secrets.into_iter().find_map(|secret| secret.resolve().err());
    config.sinks.retain(|name, sink| {
        let missing = missing(sink.secrets());
        told.extend(missing.iter().map(|why| format!("sinks.{name}: is not opened: {why}")));
        missing.is_none()
    });
    if let Some(why) = config.audit.export.as_ref().and_then(|export| missing(export.secrets())) {
        told.push(format!("audit.export: the audit log is not exported: {why}"));
        config.audit.export = None;
    }
    let mut gone = Vec::new();
    config.alerts.channels.retain(|name, channel| {
        let missing = missing(channel.secrets());
        told.extend(missing.iter().map(|why| format!("alerts.channels.{name}: nobody is told there: {why}")));
        gone.extend(missing.is_some().then(|| name.clone()));
        missing.is_none()
    });
    if let Some(rules) = &mut config.alerts.rules {
        // A rule for those alone is for nobody; without names it would be for all.
        rules.retain(|_, rule| {
            let named = !rule.channels.is_empty();
            rule.channels.retain(|name| !gone.contains(name));
            !named || !rule.channels.is_empty()
        });
    }
    let Some(store) = &mut config.store else { return told };
    if let Some(Err(why)) = store.redis_url.as_ref().map(SecretRef::resolve) {
        told.push(format!("store.redis_url: Redis is not used: {why}"));
        store.redis_url = None;
    }
    if let Err(why) = store.postgres_url.resolve() {
        told.push(format!("store.postgres_url: the embedded database is used: {why}"));
        config.store = None;
    }
    told
}
