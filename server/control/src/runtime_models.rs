//! Deployments that admins make while the gateway runs.

use tollgate_domain::{Error, Secret, Violation, new_id, timestamp};
use tollgate_proto::v1::{ListRuntimeModelsRequest, RuntimeModel};
use tollgate_store::{Object, StoredModel, Thing};

use crate::{Control, Done, Principal, Resource, act, keys, page, rights};

/// What such deployments need of the process: how they are served and kept secret is decided where configurations are.
pub trait RuntimeModels: Send + Sync {
    /// Whether a deployment can be served beside what is in force; an error names the field.
    fn check(&self, model: &RuntimeModel) -> Result<(), Error>;
    /// Encrypts a credential; only together with the id of its deployment can it be read again.
    fn seal(&self, id: &str, secret: &Secret) -> Result<Vec<u8>, Error>;
    /// Puts what the directory holds in force, where that has changed.
    fn put_in_force(&self);
}

/// Where nothing is served but what is configured, as in a simulation.
pub(crate) struct NoModels;

impl RuntimeModels for NoModels {
    fn check(&self, _: &RuntimeModel) -> Result<(), Error> {
        Err(Error::invalid_field("model", "only the configuration makes models here"))
    }

    fn seal(&self, _: &str, _: &Secret) -> Result<Vec<u8>, Error> {
        Err(Error::internal("there is no key to encrypt credentials with"))
    }

    fn put_in_force(&self) {}
}

impl Control {
    /// Makes a deployment.
    pub async fn create_model(
        &self,
        principal: &Principal,
        asked: RuntimeModel,
        request_id: &str,
    ) -> Result<RuntimeModel, Error> {
        let made = self
            .act::<act::CreateModel, _>(
                principal,
                |_| Ok(Resource::default()),
                |authorized| {
                    check(&asked, request_id)?;
                    let made_by = keys::owned(authorized, request_id);
                    if let Some(made) = self.made("model", &made_by, |id| self.directory().model(id)) {
                        let subject = made.model().id.clone();
                        let changes = vec!["repeated".into()];
                        return Ok(Done {
                            result: made.model().clone(),
                            objects: vec![],
                            subject,
                            changes,
                            posting: None,
                        });
                    }
                    let id = new_id("model_");
                    let create_time = Some(timestamp(self.now_us()));
                    let model = RuntimeModel { id, create_time, ..asked };
                    self.runtime_models.check(&model)?;
                    let sealed = match model.api_key.as_str() {
                        "" => Vec::new(),
                        key => self.runtime_models.seal(&model.id, &Secret::new(key))?,
                    };
                    let stored = StoredModel::new(model, sealed);
                    let result = stored.model().clone();
                    let changes = vec![
                        format!("model: {:?}", result.model),
                        format!("provider: {:?} {:?} {:?}", result.provider, result.kind, result.base_url),
                        format!("provider_model: {:?}", result.provider_model),
                    ];
                    let object = Object::new(Thing::Model(stored)).made_by(made_by);
                    let subject = result.id.clone();
                    Ok(Done { result, objects: vec![object], subject, changes, posting: None })
                },
            )
            .await?;
        self.runtime_models.put_in_force();
        Ok(made)
    }

    /// A page of deployments that live in the store, oldest first.
    pub async fn list_runtime_models(
        &self,
        principal: &Principal,
        asked: &ListRuntimeModelsRequest,
    ) -> Result<(Vec<RuntimeModel>, String), Error> {
        self.allowed::<act::ReadRuntimeModel>(principal, |_| Ok(Resource::default()))?;
        let all = self.directory().models().into_iter().map(|stored| stored.model().clone());
        page::of(all, |model| &model.id, "runtime models", asked.page_size, &asked.page_token)
    }

    /// Takes a deployment away.
    pub async fn delete_model(&self, principal: &Principal, id: &str) -> Result<(), Error> {
        self.act::<act::DeleteModel, _>(
            principal,
            |_| Ok(Resource::default()),
            |_| {
                let stored = self.directory().model(id).ok_or_else(|| Error::not_found("model", id))?;
                let object = Object::new(Thing::Model((*stored).clone())).deleted();
                let changes = vec![format!("model: {:?}", stored.model().model)];
                Ok(Done { result: (), objects: vec![object], subject: id.to_owned(), changes, posting: None })
            },
        )
        .await?;
        self.runtime_models.put_in_force();
        Ok(())
    }
}

fn check(model: &RuntimeModel, request_id: &str) -> Result<(), Error> {
    let mut violations = Vec::new();
    let mut expect = |holds: bool, field: &str, description: &str| {
        if !holds {
            violations.push(Violation { field: field.into(), description: description.into() });
        }
    };
    let is_name = |text: &str| (1..=256).contains(&text.len());
    expect(is_name(&model.model), "model.model", "must have 1 to 256 bytes");
    expect(is_name(&model.provider_model), "model.provider_model", "must have 1 to 256 bytes");
    expect(model.base_url.len() <= 2_048, "model.base_url", "must be at most 2048 bytes");
    // It is shown and on record, unlike a credential.
    let authority = model.base_url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    expect(!authority.contains('@'), "model.base_url", "must not hold a credential: give it in api_key");
    expect(model.base_model.len() <= 256, "model.base_model", "must be at most 256 bytes");
    expect(model.region.len() <= 128, "model.region", "must be at most 128 bytes");
    let named = !model.provider.is_empty();
    expect(named || !model.kind.is_empty(), "model.kind", "is needed, or a provider of the configuration");
    let own = [&model.kind, &model.base_url, &model.api_key, &model.api_version];
    let apart = !named || own.iter().all(|text| text.is_empty());
    expect(apart, "model.provider", "goes without kind, base_url, api_key and api_version: the configuration has them");
    // A reference would let whoever makes models read the process's environment and files.
    let reference = ["env:", "file:", "os.environ/"].iter().any(|prefix| model.api_key.starts_with(prefix));
    expect(!reference, "model.api_key", "must be the credential itself: references are for the configuration");
    expect(model.api_key.len() <= 4_096, "model.api_key", "must be at most 4096 bytes");
    let tags = model.tags.len() <= 32 && model.tags.iter().all(|t| (1..=128).contains(&t.len()));
    expect(tags, "model.tags", "must be at most 32 of 1 to 128 bytes");
    let positive = |n: Option<i64>| n.is_none_or(|n| n > 0);
    expect(positive(model.context_window), "model.context_window", "must be positive");
    expect(positive(model.max_output_tokens), "model.max_output_tokens", "must be positive");
    expect(model.weight <= 1_000_000, "model.weight", "must be at most 1000000");
    expect(request_id.len() <= 128, "request_id", "must be at most 128 bytes");
    let figures = model.price.iter().flat_map(|p| {
        let cached = [p.cached_read_pico_usd, p.cache_write_5m_pico_usd, p.cache_write_1h_pico_usd];
        let others = [p.reasoning_pico_usd, p.per_second_pico_usd, p.per_audio_second_pico_usd];
        let optional = cached.into_iter().chain(others);
        [p.input_pico_usd, p.output_pico_usd].into_iter().chain(optional.flatten())
    });
    expect(figures.into_iter().all(|figure| figure >= 0), "model.price", "must not be negative");
    rights::check_limits(model.limits.as_ref(), "model.limits", &mut violations);
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid(violations)) }
}
