//! Operations with one answer, in the fixtures' normal form.

use serde_json::{Value, json};
use tollgate_domain::Failure;
use tollgate_fixtures::fold::{counts, fold};
use tollgate_proto::{
    operation::{Images, Moderations, Reranking},
    v1::{
        CreateModerationRequest, CreateModerationResponse, Dialect, GenerateImageRequest, GenerateImageResponse,
        ModerationInput, RerankRequest, RerankResponse, moderation_input::Input,
    },
};
use tollgate_providers::{
    Offered, UnaryCall,
    exchange::{self, Endpoint},
};

/// What is made of a fixture of rankings, moderations or images; `None`: it is of another operation.
pub(crate) async fn seen(path: &str, endpoint: impl AsyncFn() -> Endpoint) -> Option<Value> {
    if path.ends_with("/rerank") {
        let documents = vec!["a".into(), "b".into()];
        let request = RerankRequest { query: Some("q".into()), documents, ..RerankRequest::default() };
        return Some(told::<Reranking>(&endpoint().await, &request, ranking).await);
    }
    if path.ends_with("/moderations") {
        let inputs = vec![ModerationInput { input: Some(Input::Text("x".into())) }];
        let request = CreateModerationRequest { inputs, ..CreateModerationRequest::default() };
        return Some(told::<Moderations>(&endpoint().await, &request, moderation).await);
    }
    if path.ends_with("/images/generations") {
        let request = GenerateImageRequest { prompt: Some("x".into()), ..GenerateImageRequest::default() };
        return Some(told::<Images>(&endpoint().await, &request, images).await);
    }
    None
}

async fn told<O: Offered>(endpoint: &Endpoint, request: &O::Request, form: fn(O::Response) -> Value) -> Value {
    let call = UnaryCall::<O> {
        request,
        want_native: Dialect::Unspecified,
        drop_params: false,
        attempt_id: "a-1",
        traceparent: None,
    };
    let answered: Result<_, Failure> = exchange::unary(endpoint, &call).await;
    match answered {
        Ok(answer) => {
            let mut seen = form(answer.response);
            seen["ok"] = true.into();
            seen
        }
        Err(failure) => fold(&[], Some(&failure)),
    }
}

fn ranking(response: RerankResponse) -> Value {
    let results: Vec<_> = response.results.iter().map(|r| json!([r.index, r.relevance_score])).collect();
    json!({"results": results, "usage": response.usage.as_ref().map(counts)})
}

fn moderation(response: CreateModerationResponse) -> Value {
    let first = &response.results[0];
    let found: Vec<_> = first.categories.iter().filter(|c| c.flagged).map(|c| c.name.clone()).collect();
    json!({"flagged": first.flagged, "categories_true": found})
}

fn images(response: GenerateImageResponse) -> Value {
    json!({"images": response.images.len(), "usage": response.usage.as_ref().map(counts)})
}
