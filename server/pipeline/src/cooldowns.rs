//! Replicas tell each other which deployments they leave alone.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::mpsc;
use tollgate_domain::Class;
use tollgate_store::{Cooldowns, Cooling};

use crate::Pipeline;

/// How often the others are listened to.
const LISTEN: Duration = Duration::from_millis(500);

/// Whether others should know: a line that this replica alone cannot have says nothing about theirs.
pub(crate) fn concerns_others(class: Class) -> bool {
    !matches!(class, Class::Connection | Class::Timeout)
}

/// Tells what is found here, and takes over what was found elsewhere, for as long as the pipeline is there.
pub(crate) async fn share(
    pipeline: Weak<Pipeline>,
    cooldowns: Arc<dyn Cooldowns>,
    mut finds: mpsc::UnboundedReceiver<Cooling>,
) {
    let mut listen = tokio::time::interval(LISTEN);
    listen.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            found = finds.recv() => {
                let Some(found) = found else { return };
                // Nothing is lost with it but a moment: the others will find out.
                if let Err(error) = cooldowns.announce(&found).await {
                    tracing::debug!(%error, "other replicas are not told of a deployment that is left alone");
                }
            }
            _ = listen.tick() => {
                let Some(pipeline) = pipeline.upgrade() else { return };
                match cooldowns.current().await {
                    Ok(all) => all.iter().for_each(|cooling| pipeline.take_over_cooldown(cooling)),
                    Err(error) => tracing::debug!(%error, "what other replicas leave alone is not known now"),
                }
            }
        }
    }
}

impl Pipeline {
    fn take_over_cooldown(&self, cooling: &Cooling) {
        let Some(class) = Class::named(&cooling.class) else { return };
        let left_us = u64::try_from(cooling.left.as_micros()).unwrap_or(u64::MAX);
        self.states.of(&cooling.deployment).cool_until(self.route_now_us().saturating_add(left_us), Some(class));
    }
}
