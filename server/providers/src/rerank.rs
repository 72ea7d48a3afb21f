//! Rankings in Cohere's shape, which everybody who has them speaks: `{model, query, documents, top_n}` to results by index.
//!
//! Provider pages: Cohere "Rerank API (v2)", Together and Fireworks "Create a rerank request", vLLM "Re-rank API", Jina "Reranker API".

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_domain::{Class, Failure};
use tollgate_proto::{
    operation::Reranking,
    v1::{Dialect, InputUsage, Original, OutputUsage, RerankRequest, RerankResponse, RerankResult, Started, Usage},
};

use crate::{
    Outgoing, Target, Unary, UnaryCall, Unsupported, Written,
    json::{self, Object},
    openai::{post, unsendable},
    refusal,
};

/// The shape, as one service speaks it.
#[derive(Clone, Copy, Debug)]
pub struct Reranker {
    /// Its path below the base URL.
    pub path: &'static str,
    /// Whether it knows `return_documents`.
    pub returns_documents: bool,
    /// Whether it knows `max_tokens_per_doc`.
    pub cuts_documents: bool,
}

/// Cohere's own, version 2: it never gives documents back.
pub static COHERE: Reranker = Reranker { path: "/v2/rerank", returns_documents: false, cuts_documents: true };

/// That of services which speak OpenAI's dialect besides.
pub static COMPATIBLE: Reranker = Reranker { path: "/rerank", returns_documents: true, cuts_documents: false };

impl Unary<Reranking> for Reranker {
    fn request(&self, target: &Target, call: &UnaryCall<'_, Reranking>) -> Result<Outgoing, Failure> {
        self.write(target, call.request)?.sent(|body| post(target, self.path, call.attempt_id, body))
    }

    fn answer(&self, call: &UnaryCall<'_, Reranking>, body: Bytes) -> Result<RerankResponse, Failure> {
        read(call, body, self.returns_documents)
    }
}

impl Reranker {
    /// Spliced where the caller wrote it in this dialect, else encoded.
    fn write(&self, target: &Target, request: &RerankRequest) -> Result<Written, Failure> {
        let cut = request.max_tokens_per_document;
        let mut written = match request.original.as_ref().filter(|o| o.dialect() == Dialect::CohereRerank) {
            Some(original) => {
                let mut edits = vec![("model", Some(serde_json::to_string(&target.model).unwrap_or_default()))];
                edits.extend((!self.returns_documents).then_some(("return_documents", None)));
                edits.extend((!self.cuts_documents).then_some(("max_tokens_per_doc", None)));
                Written::whole(json::edit(&original.body, &edits).map_err(unsendable)?)
            }
            None => {
                let mut body = Object::default();
                body.field("model", &target.model).maybe("query", request.query.as_ref());
                body.field("documents", &request.documents).maybe("top_n", request.top_n.as_ref());
                if self.returns_documents && request.return_documents {
                    body.field("return_documents", &true);
                }
                body.maybe("max_tokens_per_doc", cut.as_ref().filter(|_| self.cuts_documents));
                body.merge(&request.extra_json);
                Written::whole(body.finish().into_bytes())
            }
        };
        if cut.is_some() && !self.cuts_documents {
            written.unsupported.push(Unsupported::new("max_tokens_per_document"));
        }
        Ok(written)
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    id: Option<String>,
    model: Option<String>,
    results: Option<Vec<Row>>,
    /// Fireworks' name for them.
    data: Option<Vec<Row>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Row {
    index: u32,
    relevance_score: f64,
}

/// Tokens where they are sold: what vLLM, Together, Fireworks and Jina tell.
#[derive(Deserialize)]
struct Tokens {
    prompt_tokens: Option<f64>,
    total_tokens: Option<f64>,
}

/// What Cohere tells.
#[derive(Deserialize)]
struct Meta {
    billed_units: Option<Units>,
}

#[derive(Deserialize)]
struct Units {
    search_units: Option<f64>,
    input_tokens: Option<f64>,
}

fn read(call: &UnaryCall<'_, Reranking>, body: Bytes, is_whole: bool) -> Result<RerankResponse, Failure> {
    let broken =
        |e: serde_json::Error| Failure::new(Class::UpstreamProtocol, format!("the ranking cannot be read: {e}"));
    let answer: Answer<'_> = serde_json::from_slice(&body).map_err(broken)?;
    let has_results = answer.results.is_some();
    let Some(rows) = answer.results.or(answer.data) else { return Err(refusal::in_band(200, &body, true)) };
    let request = call.request;
    let mut results = Vec::with_capacity(rows.len());
    for Row { index, relevance_score } in rows {
        let Some(document) = request.documents.get(index as usize) else {
            let message = format!("the ranking names the document {index} of {}", request.documents.len());
            return Err(Failure::new(Class::UpstreamProtocol, message));
        };
        let document = request.return_documents.then(|| document.clone());
        results.push(RerankResult { index, relevance_score, document });
    }
    // Documents that the caller wants and the provider does not give are put beside the ranks by whoever writes the answer.
    let is_native = call.want_native == Dialect::CohereRerank && has_results && (is_whole || !request.return_documents);
    Ok(RerankResponse {
        started: Some(Started {
            response_id: answer.id.unwrap_or_default(),
            served_model: answer.model.unwrap_or_default(),
            ..Started::default()
        }),
        results,
        usage: usage(answer.usage, answer.meta),
        routing: None,
        receipt: None,
        native: is_native.then(|| Original { dialect: Dialect::CohereRerank as i32, body: body.clone() }),
    })
}

/// Search units, or tokens, or both; `None`: it told neither.
fn usage(usage: Option<&RawValue>, meta: Option<&RawValue>) -> Option<Usage> {
    let tokens: Option<Tokens> = usage.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let units = meta.and_then(|raw| serde_json::from_str::<Meta>(raw.get()).ok()).and_then(|meta| meta.billed_units);
    let count = |n: f64| (n >= 0.0).then(|| n.ceil() as u64);
    let search_units = units.as_ref().and_then(|u| u.search_units).and_then(count);
    let told = tokens.and_then(|t| t.prompt_tokens.or(t.total_tokens)).or(units.and_then(|u| u.input_tokens));
    let input = told.and_then(count);
    if search_units.is_none() && input.is_none() {
        return None;
    }
    Some(Usage {
        input: Some(InputUsage { total: input.unwrap_or(0), ..InputUsage::default() }),
        output: Some(OutputUsage::default()),
        search_units,
        native_json: usage.or(meta).map(|raw| raw.get().to_owned()),
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::credential::Credential;

    fn target() -> Target {
        Target {
            base_url: "http://x".into(),
            api_version: None,
            credential: Credential::Key(tollgate_domain::Secret::new("sk-x")),
            model: "rerank-x".into(),
            headers: Default::default(),
        }
    }

    fn asked() -> RerankRequest {
        RerankRequest {
            query: Some("q".into()),
            documents: vec!["a".into(), "b".into()],
            top_n: Some(1),
            return_documents: true,
            max_tokens_per_document: Some(100),
            ..RerankRequest::default()
        }
    }

    fn call(request: &RerankRequest) -> UnaryCall<'_, Reranking> {
        UnaryCall {
            request,
            want_native: Dialect::CohereRerank,
            drop_params: false,
            attempt_id: "a-1",
            traceparent: None,
        }
    }

    fn sent(by: &Reranker, request: &RerankRequest) -> (String, Value, Vec<String>) {
        let outgoing = by.request(&target(), &call(request)).unwrap();
        let unsupported = outgoing.unsupported.into_iter().map(|u| u.field).collect();
        let body = serde_json::from_slice(outgoing.request.body()).unwrap();
        (outgoing.request.uri().path().to_owned(), body, unsupported)
    }

    #[test]
    fn each_service_is_asked_for_what_it_knows() {
        let common = json!({"model": "rerank-x", "query": "q", "documents": ["a", "b"], "top_n": 1});
        let with = |name: &str, value: Value| {
            let mut body = common.clone();
            body[name] = value;
            body
        };
        let cohere = ("/v2/rerank".to_owned(), with("max_tokens_per_doc", json!(100)), vec![]);
        assert_eq!(sent(&COHERE, &asked()), cohere);
        let compatible = with("return_documents", json!(true));
        let unsupported = vec!["max_tokens_per_document".to_owned()];
        assert_eq!(sent(&COMPATIBLE, &asked()), ("/rerank".to_owned(), compatible, unsupported));
    }

    #[test]
    fn the_callers_own_bytes_stay_but_for_what_the_service_refuses() {
        let body = r#"{"documents":["a" , "b"],"return_documents":true,"query":"q","model":"alias","x":1.0}"#;
        let original = Original { dialect: Dialect::CohereRerank as i32, body: body.into() };
        let request = RerankRequest { original: Some(original), ..asked() };
        let outgoing = COHERE.request(&target(), &call(&request)).unwrap();
        let spliced = r#"{"documents":["a" , "b"],"query":"q","model":"rerank-x","x":1.0}"#;
        assert_eq!(outgoing.request.body(), spliced);
    }

    #[test]
    fn documents_that_are_asked_for_come_from_the_gateway() {
        let body = Bytes::from_static(br#"{"results":[{"index":1,"relevance_score":0.5}]}"#);
        let request = asked();
        let answer = COHERE.answer(&call(&request), body.clone()).unwrap();
        assert_eq!(answer.results[0].document.as_deref(), Some("b"));
        assert_eq!(answer.native, None, "it lacks the documents");
        let plain = RerankRequest { return_documents: false, ..asked() };
        let answer = COHERE.answer(&call(&plain), body).unwrap();
        assert_eq!((answer.results[0].document.as_ref(), answer.native.is_some()), (None, true));
        assert_eq!(answer.usage, None, "nothing was told, which is not nothing");
    }

    #[test]
    fn tokens_are_told_by_services_that_sell_them_and_a_rank_of_nothing_is_refused() {
        let body = r#"{"data":[{"index":0,"relevance_score":1}],"usage":{"prompt_tokens":7.0,"total_tokens":7}}"#;
        let request = asked();
        let answer = COMPATIBLE.answer(&call(&request), body.into()).unwrap();
        let usage = answer.usage.unwrap();
        assert_eq!((usage.input.unwrap().total, usage.search_units), (7, None));
        assert_eq!(answer.native, None, "`data` is not the dialect's word");
        let beyond = r#"{"results":[{"index":2,"relevance_score":1}]}"#;
        assert_eq!(COHERE.answer(&call(&request), beyond.into()).unwrap_err().class, Class::UpstreamProtocol);
    }
}
