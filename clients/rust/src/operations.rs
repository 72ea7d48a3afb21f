//! Operations with one answer.

use tollgate_proto::v1::{self, embedding_input::Input, embedding_service_client::EmbeddingServiceClient};

use crate::{
    DEFAULT_TIMEOUT, Error,
    calls::{once, request, sub_client},
};

sub_client! {
    /// Embeddings.
    Embeddings: EmbeddingServiceClient
}

impl Embeddings {
    /// The embeddings of texts, in their order.
    pub async fn create<T: Into<String>>(
        &self,
        model: &str,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<v1::CreateEmbeddingResponse, Error> {
        let input = |text: T| v1::EmbeddingInput { input: Some(Input::Text(text.into())) };
        self.send(v1::CreateEmbeddingRequest {
            model: Some(model.to_owned()),
            inputs: texts.into_iter().map(input).collect(),
            ..Default::default()
        })
        .await
    }

    /// The same with everything that the contract has.
    pub async fn send(&self, asked: v1::CreateEmbeddingRequest) -> Result<v1::CreateEmbeddingResponse, Error> {
        let timeout = Some(self.timeout.unwrap_or(DEFAULT_TIMEOUT));
        once(self.stub.clone().create_embedding(request(asked, timeout))).await
    }
}
