//! What a gateway is started with: its configuration, its binary, the command around it.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};

use super::gateway::Gateway;
use super::keys::virtual_key;
use crate::provider::UPSTREAM_KEY;

/// What a gateway is started with.
#[derive(Debug)]
pub struct GatewayBuilder {
    pub(super) config: Value,
    pub(super) yaml: Option<String>,
    pub(super) binary: Option<PathBuf>,
    pub(super) wrapper: Vec<OsString>,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) key: String,
    pub(super) port: Option<u16>,
}

impl Default for GatewayBuilder {
    fn default() -> Self {
        let key = virtual_key();
        GatewayBuilder {
            config: json!({
                "providers": {},
                "models": [],
                "keys": [{ "name": "test", "secret": key, "models": ["*"], "budget_usd": "1000000" }]
            }),
            yaml: None,
            binary: None,
            wrapper: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            key,
            port: None,
        }
    }
}

impl GatewayBuilder {
    /// Adds a provider that speaks OpenAI's dialect at this base URL, under this name.
    pub fn provider(self, name: &str, base_url: &str) -> Self {
        self.provider_of_kind(name, "openai", base_url)
    }

    /// Adds a provider of a given kind (`openai`, `anthropic`, ...).
    pub fn provider_of_kind(mut self, name: &str, kind: &str, base_url: &str) -> Self {
        self.config["providers"][name] = json!({ "kind": kind, "base_url": base_url, "api_key": UPSTREAM_KEY });
        self
    }

    /// Adds a model alias with one deployment at a provider, at 0.15 and 0.60 dollars per million tokens.
    pub fn model(self, alias: &str, provider: &str, upstream_model: &str) -> Self {
        let deployment = json!({
            "provider": provider, "model": upstream_model, "price": { "input": "0.15", "output": "0.60" },
            "max_output_tokens": 4096, "context_window": 400_000
        });
        self.deployment(alias, deployment)
    }

    /// Adds a deployment to a model alias, which is made when it is new.
    pub fn deployment(mut self, alias: &str, deployment: Value) -> Self {
        if let Some(models) = self.config["models"].as_array_mut() {
            match models.iter_mut().find(|model| model["name"] == alias) {
                Some(model) => {
                    model["deployments"].as_array_mut().into_iter().for_each(|all| all.push(deployment.clone()))
                }
                None => models.push(json!({ "name": alias, "deployments": [deployment] })),
            }
        }
        self
    }

    /// The hard budget of the first key, in dollars: `"1.00"`.
    pub fn budget_usd(mut self, budget: &str) -> Self {
        self.config["keys"][0]["budget_usd"] = budget.into();
        self
    }

    /// Adds a bootstrap key as configuration writes it (`name`, `secret`, `models`, ...).
    pub fn key(mut self, key: Value) -> Self {
        self.config["keys"].as_array_mut().into_iter().for_each(|keys| keys.push(key.clone()));
        self
    }

    /// Sets a value of the configuration by JSON pointer: `/keys/0/rpm`. Objects on the way must exist.
    ///
    /// # Panics
    /// When the pointer's parent is not in the configuration.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
        let parent = self.config.pointer_mut(parent).expect("the parent of the setting exists");
        match parent {
            Value::Array(list) => list[name.parse::<usize>().expect("an index")] = value.into(),
            other => other[name] = value.into(),
        }
        self
    }

    /// The configuration so far.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Uses this text as the configuration. `{data_dir}` and `{listen}` in it are filled in.
    pub fn yaml(mut self, text: impl Into<String>) -> Self {
        self.yaml = Some(text.into());
        self
    }

    /// Starts this binary instead of the one found by [`locate`].
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// Starts the binary through another command: `["taskset", "-c", "0"]`.
    pub fn wrapped_in(mut self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.wrapper = command.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a command line argument.
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable of the process.
    pub fn environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Listens on this port instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Starts the gateway and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready; the message ends with what it wrote.
    pub async fn start(self) -> Gateway {
        self.try_start().await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Starts the gateway and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, ends, or is not ready in ten seconds.
    pub async fn try_start(self) -> Result<Gateway> {
        let mut gateway = self.spawn()?;
        gateway.ready_somewhere().await?;
        Ok(gateway)
    }

    /// Starts the gateway without waiting for it.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn(self) -> Result<Gateway> {
        Gateway::spawn(self)
    }
}
