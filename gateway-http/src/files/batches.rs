//! `/v1/batches`.

use std::collections::BTreeMap;

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    response::Response,
};
use tollgate_proto::v1::{
    Batch, CancelBatchRequest, CreateBatchRequest, CreateBatchResponse, Dialect, GetBatchRequest, ListBatchesRequest,
    Receipt,
};

use super::{Asked, Asking, id_in, made, page};
use crate::{
    Gateway, chat,
    error::Refusal,
    forward::{self, Named},
    openai::{
        Invalid,
        members::{Members, text},
        wishes,
    },
};

fn about_batch(status: tonic::Status) -> Refusal {
    Refusal::from(status).about_named("batch_id")
}

/// A batch, and the call that its charge and its correction are booked under.
fn told(batch: Option<Batch>, receipt: Option<&Receipt>) -> Response {
    let Batch { call_id, object_json, .. } = batch.unwrap_or_default();
    let mut headers = HeaderMap::new();
    chat::tell_id(&mut headers, &call_id);
    made(headers, object_json, receipt)
}

fn read(body: &str) -> Result<CreateBatchRequest, Invalid> {
    let mut m = Members::read(body, "")?;
    let required = |name: &str, found: Option<String>| found.ok_or_else(|| Invalid::at(name, "is required"));
    let input_file_id = required("input_file_id", m.take("input_file_id")?)?;
    let endpoint = required("endpoint", m.take("endpoint")?)?;
    let completion_window = required("completion_window", m.take("completion_window")?)?;
    let metadata: Option<BTreeMap<String, String>> = m.take("metadata")?;
    // The input says where a batch goes, whatever LiteLLM's clients add.
    m.raw("model");
    m.raw("custom_llm_provider");
    m.without_nulls();
    Ok(CreateBatchRequest {
        input_file_id,
        endpoint,
        completion_window,
        metadata: metadata.unwrap_or_default().into_iter().collect(),
        extra_json: m.rest(),
        tollgate: None,
    })
}

/// `POST /v1/batches`.
pub(crate) async fn create(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let (body, aside) = wishes::cut(forward::read(&gateway, &parts, body).await?)?;
    let mut asked = read(text(&body)?)?;
    asked.tollgate = Some(chat::options_beside(&parts, Dialect::Unspecified, aside)?);
    let asked = forward::request(&gateway, &parts, asked);
    let CreateBatchResponse { batch, receipt } = gateway.batches().create_batch(asked).await?.into_inner();
    Ok(told(batch, receipt.as_ref()))
}

/// `GET /v1/batches`.
pub(crate) async fn list(State(gateway): State<Gateway>, query: Asking, request: Request) -> Result<Response, Refusal> {
    let asked = Asked::in_query(query)?;
    let (parts, _) = request.into_parts();
    let wanted = ListBatchesRequest { page_size: asked.size()?, page_token: asked.after.unwrap_or_default() };
    let wanted = forward::request(&gateway, &parts, wanted);
    let told = gateway.batches().list_batches(wanted).await?.into_inner();
    Ok(page(told.batches.iter().map(|batch| batch.object_json.as_str()), !told.next_page_token.is_empty()))
}

/// `GET /v1/batches/{id}`.
pub(crate) async fn retrieve(State(gateway): State<Gateway>, id: Named, request: Request) -> Result<Response, Refusal> {
    let id = id_in(id, "batch_id")?;
    let (parts, _) = request.into_parts();
    let asked = forward::request(&gateway, &parts, GetBatchRequest { id });
    Ok(told(gateway.batches().get_batch(asked).await.map_err(about_batch)?.into_inner().batch, None))
}

/// `POST /v1/batches/{id}/cancel`.
pub(crate) async fn cancel(State(gateway): State<Gateway>, id: Named, request: Request) -> Result<Response, Refusal> {
    let id = id_in(id, "batch_id")?;
    let (parts, _) = request.into_parts();
    let asked = forward::request(&gateway, &parts, CancelBatchRequest { id });
    Ok(told(gateway.batches().cancel_batch(asked).await.map_err(about_batch)?.into_inner().batch, None))
}
