use tollgate_domain::Error;
use tollgate_pipeline::Call;
use tollgate_proto::v1::{CatalogueModel, CountTokensResponse, ErrorReason};
use tollgate_providers::catalogue::{Catalogue, Entry, Query};

use crate::{Control, Principal, Resource, act, page};

impl Control {
    /// A page of the built-in catalogue, by provider and id.
    pub async fn list_catalogue_models(
        &self,
        principal: &Principal,
        query: &Query,
        size: i32,
        token: &str,
    ) -> Result<(Vec<CatalogueModel>, String), Error> {
        self.allowed::<act::ReadModels>(principal, |caller| Ok(Resource::of_key(caller.key())))?;
        let found = Catalogue::embedded().search(query).map(|entry| (entry.key(), entry));
        let name = format!("catalogue {query:?}");
        let (rows, next) = page::of(found, |(key, _)| key, &name, size, token)?;
        Ok((rows.into_iter().map(|(_, entry)| entry.to_proto()).collect(), next))
    }

    /// One model of it.
    pub async fn get_catalogue_model(
        &self,
        principal: &Principal,
        provider: &str,
        model: &str,
    ) -> Result<CatalogueModel, Error> {
        self.allowed::<act::ReadModels>(principal, |caller| Ok(Resource::of_key(caller.key())))?;
        Catalogue::embedded().find(provider, model).map(Entry::to_proto).ok_or_else(|| {
            let message = format!(
                "the catalogue lists no {model:?} of {provider:?}; `ListCatalogueModels` and `tollgate models` search it"
            );
            Error::new(ErrorReason::ModelNotFound, message).with("model", model).with("provider", provider)
        })
    }

    /// Tokens of a call's prompt at each deployment of its model.
    pub async fn count_tokens(&self, principal: &Principal, call: &Call) -> Result<CountTokensResponse, Error> {
        let authorized = self.allowed::<act::ReadModels>(principal, |caller| Ok(Resource::of_key(caller.key())))?;
        self.pipeline.count_tokens(authorized.caller(), call).await
    }
}
