//! Deployments that live in the store: merged into the configuration, encrypted, and put in force.
//!
//! They become a part of the configuration that the table is built from, so that there is one way from words to a table. The configuration
//! goes first: a deployment whose provider is gone from it, or whose kind this version does not know, is left out and told in the log, and
//! nothing else is.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use parking_lot::Mutex;
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use serde_json::{Value, json};
use tollgate_control::RuntimeModels;
use tollgate_domain::{Error, Secret};
use tollgate_pipeline::Pipeline;
use tollgate_proto::v1::{Price, RuntimeModel};
use tollgate_providers::catalogue::Catalogue;
use tollgate_router::Table;
use tollgate_store::StoredModel;

use crate::{
    config::{self, Config},
    table,
};

/// Kinds that are served by an account of the machine or of the cloud: those are the configuration's to give.
const NEEDS_AN_ACCOUNT: [&str; 2] = ["bedrock", "vertex"];

/// Encrypts credentials; each is bound to the id of its deployment.
pub(crate) struct Sealer(LessSafeKey);

impl Sealer {
    /// With a key of 32 bytes.
    pub(crate) fn new(key: &[u8]) -> anyhow::Result<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key);
        Ok(Self(LessSafeKey::new(key.ok().context("the key of credentials must have 32 bytes")?)))
    }

    /// The nonce, the text encrypted, and its tag.
    fn seal(&self, id: &str, secret: &Secret) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut text = secret.expose().as_bytes().to_vec();
        let aad = Aad::from(id.as_bytes());
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text).ok()?;
        Some([&nonce[..], &text].concat())
    }

    fn open(&self, id: &str, sealed: &[u8]) -> anyhow::Result<Secret> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).context("the encrypted credential is cut short")?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok().context("the encrypted credential is damaged")?;
        let mut text = text.to_vec();
        let open = self.0.open_in_place(nonce, Aad::from(id.as_bytes()), &mut text).ok();
        let open = open.context("the credential was encrypted with another store.secret, or is damaged")?;
        Ok(Secret::new(std::str::from_utf8(open).context("the credential is no text")?))
    }
}

/// What is configured, and what lives in the store beside it.
pub(crate) struct Runtime {
    pipeline: Arc<Pipeline>,
    sealer: Sealer,
    state: Mutex<State>,
}

struct State {
    config: Config,
    /// The count of changes that is in force.
    changes: u64,
}

impl Runtime {
    /// Over the configuration that is in force alone.
    pub(crate) fn new(pipeline: Arc<Pipeline>, sealer: Sealer, config: Config) -> Arc<Self> {
        let runtime = Self { pipeline, sealer, state: Mutex::new(State { config, changes: 0 }) };
        runtime.put_in_force();
        Arc::new(runtime)
    }

    /// Puts another configuration in force, with what lives in the store; a broken one changes nothing.
    pub(crate) fn replace(&self, config: Config) -> anyhow::Result<Vec<String>> {
        let mut state = self.state.lock();
        // Broken by itself it is refused, not blamed on what lives in the store.
        let (_, warnings) = table::build(&config, self.pipeline.clock().now_us())?;
        let changes = self.pipeline.directory().model_changes();
        let table = self.table(&config)?;
        tracing::info!(config_hash = table.config_hash, "providers and models are read anew");
        self.pipeline.replace_table(table);
        *state = State { config, changes };
        Ok(warnings)
    }

    fn table(&self, config: &Config) -> anyhow::Result<Table> {
        let stored = self.pipeline.directory().models();
        let now_us = self.pipeline.clock().now_us();
        let mut whole = config.clone();
        let added = stored.iter().try_for_each(|stored| self.add(&mut whole, stored));
        if let Ok((table, _)) = added.and_then(|()| table::build(&whole, now_us)) {
            return Ok(table);
        }
        // One of them is broken: those that are not still count.
        let mut whole = config.clone();
        for stored in &stored {
            let mut with = whole.clone();
            let added = self.add(&mut with, stored).and_then(|()| table::build(&with, now_us).map(|_| ()));
            match added {
                Ok(()) => whole = with,
                Err(error) => {
                    let id = &stored.model().id;
                    tracing::warn!("the deployment {id} of the store is left out: {error:#}");
                }
            }
        }
        table::build(&whole, now_us).map(|(table, _)| table)
    }

    fn add(&self, config: &mut Config, stored: &StoredModel) -> anyhow::Result<()> {
        let model = stored.model();
        let key = match stored.sealed_key.as_slice() {
            [] => None,
            sealed => Some(self.sealer.open(&model.id, sealed)?),
        };
        // What was listed when it was made may not be in the catalogue of this version: that takes no deployment away.
        let is_listed =
            model.base_model.split_once('/').is_some_and(|(of, name)| Catalogue::embedded().find(of, name).is_some());
        if is_listed || model.base_model.is_empty() {
            return add(config, model, key.as_ref());
        }
        tracing::warn!(deployment = model.id, base_model = model.base_model, "the catalogue lists no such model");
        add(config, &RuntimeModel { base_model: String::new(), ..model.clone() }, key.as_ref())
    }
}

impl RuntimeModels for Runtime {
    fn check(&self, model: &RuntimeModel) -> Result<(), Error> {
        let state = self.state.lock();
        // Alone with its provider: what else there is has been checked.
        let mut alone = Config { models: Vec::new(), ..state.config.clone() };
        alone.providers.retain(|name, _| *name == model.provider);
        alone.routing = Default::default();
        let key = (!model.api_key.is_empty()).then(|| Secret::new(model.api_key.as_str()));
        let built = add(&mut alone, model, key.as_ref()).and_then(|()| table::build(&alone, 0).map(|_| ()));
        built.map_err(|error| Error::invalid_field("model", format!("cannot be served so: {error:#}")))
    }

    fn seal(&self, id: &str, secret: &Secret) -> Result<Vec<u8>, Error> {
        self.sealer.seal(id, secret).ok_or_else(|| Error::internal("a credential could not be encrypted"))
    }

    fn put_in_force(&self) {
        let mut state = self.state.lock();
        let changes = self.pipeline.directory().model_changes();
        if state.changes == changes {
            return;
        }
        match self.table(&state.config) {
            Ok(table) => {
                self.pipeline.replace_table(table);
                state.changes = changes;
            }
            Err(error) => tracing::error!("deployments of the store are not in force: {error:#}"),
        }
    }
}

/// Adds a deployment to a configuration, in the configuration's own words.
fn add(config: &mut Config, model: &RuntimeModel, key: Option<&Secret>) -> anyhow::Result<()> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let provider = match model.provider.as_str() {
        "" => {
            ensure!(
                !NEEDS_AN_ACCOUNT.contains(&model.kind.as_str()),
                "kind: {:?} needs an account; configure a provider and name it in provider",
                model.kind
            );
            if let Some(key) = key {
                let is_reference = ["env:", "file:"].iter().any(|prefix| key.expose().starts_with(prefix));
                ensure!(!is_reference, "api_key: must be the credential itself");
            }
            let name = format!("{}/{}", model.kind, model.id);
            let own = json!({
                "kind": model.kind,
                "base_url": given(&model.base_url),
                "api_key": key.map(Secret::expose),
                "api_version": given(&model.api_version),
            });
            // No text of the error but the field's name: one of the fields is a secret.
            let own: config::Provider = serde_json::from_value(own).ok().context("kind: is not well-formed")?;
            config.providers.insert(name.clone(), own);
            name
        }
        name if config.providers.contains_key(name) => name.to_owned(),
        name => bail!("provider: there is no provider {name:?} in the configuration"),
    };
    let limits = model.limits.as_ref().map(|limits| {
        json!({
            "requests_per_minute": limits.requests_per_minute,
            "requests_per_day": limits.requests_per_day,
            "tokens_per_minute": limits.tokens_per_minute,
            "concurrent_requests": limits.concurrent_requests,
            "full_burst": limits.full_burst,
        })
    });
    let deployment = json!({
        "name": model.id,
        "provider": provider,
        "model": model.provider_model,
        "base_model": given(&model.base_model),
        "weight": model.weight.max(1),
        "order": model.order,
        "tags": model.tags,
        "region": given(&model.region),
        "price": model.price.as_ref().map(price).transpose()?,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "limits": limits,
    });
    match config.models.iter_mut().find(|group| group.name == model.model) {
        Some(group) => group.deployments.push(serde_json::from_value(deployment)?),
        None => {
            config.models.push(serde_json::from_value(json!({"name": model.model, "deployments": [deployment]}))?);
        }
    }
    Ok(())
}

/// A price in the configuration's words: dollars for a million tokens.
fn price(price: &Price) -> anyhow::Result<Value> {
    let not_taken = [
        ("tiers", !price.tiers.is_empty()),
        ("service_tiers", !price.service_tiers.is_empty()),
        ("audio_input_pico_usd", price.audio_input_pico_usd.is_some()),
        ("audio_output_pico_usd", price.audio_output_pico_usd.is_some()),
        ("audio_cached_read_pico_usd", price.audio_cached_read_pico_usd.is_some()),
        ("image_input_pico_usd", price.image_input_pico_usd.is_some()),
        ("image_output_pico_usd", price.image_output_pico_usd.is_some()),
        ("per_query_pico_usd", price.per_query_pico_usd.is_some()),
        ("per_character_pico_usd", price.per_character_pico_usd.is_some()),
    ];
    if let Some((field, _)) = not_taken.iter().find(|(_, given)| *given) {
        bail!("price.{field}: is not taken here; configure the deployment in the file");
    }
    // A pico-dollar for a token is a micro-dollar for a million of them.
    let figure = |pico: i64| format!("{}.{:06}", pico / 1_000_000, pico % 1_000_000);
    let each = |pico: i64| format!("{}.{:012}", pico / 1_000_000_000_000, pico % 1_000_000_000_000);
    Ok(json!({
        "input": figure(price.input_pico_usd),
        "output": figure(price.output_pico_usd),
        "cached_read": price.cached_read_pico_usd.map(figure),
        "cache_write_5m": price.cache_write_5m_pico_usd.map(figure),
        "cache_write_1h": price.cache_write_1h_pico_usd.map(figure),
        "reasoning": price.reasoning_pico_usd.map(figure),
        "per_second": price.per_second_pico_usd.map(each),
        "per_audio_second": price.per_audio_second_pico_usd.map(each),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_read_again_only_under_its_id_and_its_key() {
        let sealer = Sealer::new(&[7; 32]).unwrap();
        let sealed = sealer.seal("model_1", &Secret::new("sk-provider")).unwrap();
        assert!(!sealed.windows(11).any(|part| part == b"sk-provider"));
        assert_ne!(sealed, sealer.seal("model_1", &Secret::new("sk-provider")).unwrap(), "never the same twice");
        assert_eq!(sealer.open("model_1", &sealed).unwrap().expose(), "sk-provider");
        assert!(sealer.open("model_2", &sealed).is_err());
        assert!(Sealer::new(&[8; 32]).unwrap().open("model_1", &sealed).is_err());
        assert!(sealer.open("model_1", &sealed[..5]).is_err());
    }

    #[test]
    fn a_deployment_joins_the_group_of_its_alias_with_its_own_account() {
        let mut config = Config::default();
        let model = RuntimeModel {
            id: "model_1".into(),
            model: "fast".into(),
            kind: "openai".into(),
            provider_model: "gpt".into(),
            price: Some(Price { input_pico_usd: 150_000, output_pico_usd: 600_000, ..Price::default() }),
            ..RuntimeModel::default()
        };
        add(&mut config, &model, Some(&Secret::new("sk-provider"))).unwrap();
        add(&mut config, &RuntimeModel { id: "model_2".into(), ..model.clone() }, None).unwrap();
        assert_eq!((config.models.len(), config.models[0].deployments.len()), (1, 2));
        let (table, _) = table::build(&config, 0).unwrap();
        let price = table.groups["fast"].deployments[0].price.clone().unwrap().to_proto();
        assert_eq!((price.input_pico_usd, price.output_pico_usd), (150_000, 600_000));
        let based = RuntimeModel {
            id: "model_3".into(),
            model: "own".into(),
            kind: "openai_compatible".into(),
            base_url: "https://host/v1".into(),
            price: Some(Price { per_audio_second_pico_usd: Some(7), ..Price::default() }),
            base_model: "openai/gpt-4o".into(),
            ..model.clone()
        };
        add(&mut config, &based, None).unwrap();
        let (table, _) = table::build(&config, 0).unwrap();
        let of_table = table.groups["own"].deployments[0].to_proto();
        assert_eq!(of_table.price.unwrap().per_audio_second_pico_usd, Some(7));
        assert!(of_table.context_window.is_some(), "as the catalogue has it");
        let elsewhere = RuntimeModel { provider: "gone".into(), ..model.clone() };
        assert!(add(&mut config, &elsewhere, None).is_err());
        let reference = add(&mut Config::default(), &model, Some(&Secret::new("env:HOME"))).unwrap_err();
        assert!(!format!("{reference:#}").contains("HOME"));
        let ambient = RuntimeModel { kind: "bedrock".into(), ..model };
        assert!(add(&mut Config::default(), &ambient, None).is_err());
    }
}
