//! Replicas tell each other which deployments they leave alone.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::mpsc;
use tollgate_domain::Class;
use tollgate_router::{DeploymentState, States, Table};
use tollgate_store::{Cooldowns, Cooling};

use crate::Pipeline;

/// How often the others are listened to.
const LISTEN: Duration = Duration::from_millis(500);

/// Whether others should know: a line that this replica alone cannot have says nothing about theirs.
pub(crate) fn concerns_others(class: Class) -> bool {
    !matches!(class, Class::Connection | Class::Timeout)
}

/// What stands between a deployment and the model that it was called for.
const FOR: char = '\n';

/// How a deployment is called among replicas. One behind a name with `*` has a state for each model that is called by it: the model goes
/// along.
pub(crate) fn named(deployment: &str, model: &str, table: &Table) -> String {
    match table.groups.contains_key(model) {
        true => deployment.to_owned(),
        false => format!("{deployment}{FOR}{model}"),
    }
}

/// How it does here; `None`: nothing is called so by this configuration.
fn state_of(name: &str, table: &Table, states: &States) -> Option<Arc<DeploymentState>> {
    let Some((deployment, model)) = name.split_once(FOR) else { return Some(states.of(name)) };
    let group = table.group(model)?;
    group.deployments.iter().find(|known| known.name == deployment).map(|known| known.state().clone())
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
        if let Some(state) = state_of(&cooling.deployment, &self.table(), &self.states) {
            state.cool_until(self.route_now_us().saturating_add(left_us), Some(class));
        }
    }
}

#[cfg(test)]
mod tests {
    use tollgate_router::{
        ModelGroup,
        pattern::{Make, Patterns},
    };

    use super::*;

    fn group(name: &str) -> ModelGroup {
        ModelGroup {
            name: name.to_owned(),
            deployments: Vec::new(),
            strategy: tollgate_router::Strategy::Shuffle,
            fallbacks: Vec::new(),
            context_window_fallbacks: Vec::new(),
            content_policy_fallbacks: Vec::new(),
            retry: Default::default(),
            limits: None,
            sticky: None,
            mirror: None,
            on_midstream_failure: Default::default(),
            budget: Default::default(),
        }
    }

    #[test]
    fn a_deployment_behind_a_star_is_told_with_the_model_that_it_was_called_for() {
        let make: Make = Box::new(|name, _| Some(group(name)));
        let patterns = Patterns::new(vec![("openai/*".to_owned(), make)]);
        let groups = [("plain".to_owned(), Arc::new(group("plain")))].into();
        let (table, states) = (Table { groups, patterns, ..Table::default() }, States::default());
        assert_eq!(named("d", "plain", &table), "d");
        assert_eq!(named("d", "openai/gpt", &table), "d\nopenai/gpt");
        let plain = state_of("d", &table, &states).unwrap();
        assert!(Arc::ptr_eq(&plain, &states.of("d")));
        assert!(state_of("d\nopenai/gpt", &table, &states).is_none(), "no such deployment");
        assert!(state_of("d\nelsewhere/gpt", &table, &states).is_none(), "no such model");
    }
}
