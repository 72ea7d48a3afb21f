//! Whether providers answer, asked on demand: a sweep over the accounts behind models, at no charge, bounded in number and in time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tollgate_audit::Draft;
use tollgate_domain::{Class, Error, Failure};
use tollgate_ledger::End;
use tollgate_proto::v1::{DeploymentHealth, ErrorReason};
use tollgate_providers::exchange::{self, Endpoint};
use tollgate_router::{Deployment, ModelGroup};

use crate::{Action, Control, Principal, Resource, act, models};

/// So many providers are asked at once, over all sweeps.
const AT_ONCE: usize = 8;
/// One may take so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// A sweep may.
const SWEEP: Duration = Duration::from_secs(30);

/// What bounds sweeps.
#[derive(Clone)]
pub(crate) struct Sweeps(Arc<Semaphore>);

impl Default for Sweeps {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// What a provider is asked: deployments of which it is the same are one account.
#[derive(PartialEq, Eq, Hash)]
struct Question {
    provider: String,
    uri: http::Uri,
    body: Bytes,
}

/// What came of it.
#[derive(Clone, Default)]
struct Found {
    failure: Option<Failure>,
    took: Duration,
}

impl Control {
    /// Asks the providers behind a model, or behind all where none is named.
    pub async fn check_health(&self, principal: &Principal, model: &str) -> Result<Vec<DeploymentHealth>, Error> {
        let authorized = self.allowed::<act::CheckHealth>(principal, |_| Ok(Resource::default()))?;
        let groups = self.groups(model)?;
        let begun = Instant::now();
        let rows: Vec<_> = groups.iter().flat_map(|group| group.deployments.iter().map(move |d| (group, d))).collect();
        let (mut questions, mut asks) = (HashMap::new(), Vec::<&Endpoint>::new());
        let answers: Vec<_> = rows
            .iter()
            .map(|(_, deployment)| {
                let question = question(deployment)?;
                Ok(*questions.entry(question).or_insert_with(|| {
                    asks.push(&deployment.endpoint);
                    asks.len() - 1
                }))
            })
            .collect();
        let found = join_all(asks.into_iter().map(|endpoint| self.look(endpoint, begun + SWEEP))).await;
        let mut draft = Draft::open(Action::CheckHealth.name(), principal.peer.as_deref());
        draft.caller(authorized.caller().key());
        draft.subject(model, vec![format!("accounts asked: {}", found.len())]);
        let took_us = i64::try_from(begun.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.pipeline.ledger().end(End { record: Some(draft.close(None, took_us)), ..End::default() });
        let told = rows.iter().zip(answers).map(|((group, deployment), answer)| {
            let found = match answer {
                Ok(at) => found.get(at).cloned().unwrap_or_default(),
                Err(failure) => Found { failure: Some(failure), took: Duration::ZERO },
            };
            self.health(group, deployment, found)
        });
        Ok(told.collect())
    }

    fn groups(&self, model: &str) -> Result<Vec<Arc<ModelGroup>>, Error> {
        let table = self.pipeline.table();
        if model.is_empty() {
            return Ok(table.groups.values().cloned().collect());
        }
        let named = table.groups.get(model).cloned().or_else(|| table.group(model));
        named.map(|group| vec![group]).ok_or_else(|| {
            let message =
                format!("there is no model {model:?}; `ListModels` or `GET /v1/models` lists those that exist");
            Error::new(ErrorReason::ModelNotFound, message).with("model", model)
        })
    }

    /// Asks once there is room, for as long as the sweep has left.
    async fn look(&self, endpoint: &Endpoint, until: Instant) -> Found {
        let asked = async {
            let _room = self.sweeps.0.acquire().await;
            let begun = Instant::now();
            let failure = exchange::check(endpoint, PATIENCE).await.err();
            Found { failure, took: begun.elapsed() }
        };
        timeout_at(until, asked).await.unwrap_or_else(|_| {
            let late = format!("was not answered within the {} s that all have together", SWEEP.as_secs());
            Found { failure: Some(Failure::new(Class::Timeout, late)), took: Duration::ZERO }
        })
    }

    fn health(&self, group: &ModelGroup, deployment: &Deployment, found: Found) -> DeploymentHealth {
        let now_us = self.pipeline.route_now_us();
        let state = models::route_state(&deployment.name, &deployment.state().standing(now_us), now_us);
        let (failure_class, failure) =
            found.failure.map_or_else(Default::default, |f| (f.class.name().to_owned(), f.message));
        DeploymentHealth {
            model: group.name.clone(),
            deployment: deployment.name.clone(),
            provider: deployment.provider.clone(),
            provider_model: deployment.endpoint.target.model.clone(),
            failure_class,
            failure,
            latency_us: i64::try_from(found.took.as_micros()).unwrap_or(i64::MAX),
            circuit: state.circuit,
            cooldown_class: state.cooldown_class,
        }
    }
}

fn question(deployment: &Deployment) -> Result<Question, Failure> {
    let request = deployment.endpoint.provider.check(&deployment.endpoint.target)?;
    let (head, body) = request.into_parts();
    Ok(Question { provider: deployment.provider.clone(), uri: head.uri, body })
}
