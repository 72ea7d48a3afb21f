//! `POST /v1/rerank` in Cohere's shape as a `RerankRequest`, and the answer back.

use serde_json::{Value, json};
use tollgate_proto::v1::{RerankRequest, RerankResponse};

use crate::openai::{
    Invalid,
    members::{Members, items, string, text},
};

/// Reads a ranking. `original` and `tollgate` are left empty.
pub fn read(body: &[u8]) -> Result<RerankRequest, Invalid> {
    let mut m = Members::read(text(body)?, "")?;
    let mut request = RerankRequest {
        model: m.take("model")?,
        query: m.take("query")?,
        top_n: m.take("top_n")?,
        return_documents: m.take("return_documents")?.unwrap_or(false),
        max_tokens_per_document: m.take("max_tokens_per_doc")?,
        ..RerankRequest::default()
    };
    if let Some(json) = m.raw("documents") {
        let document = |(i, item): (usize, &str)| document(item, &format!("documents[{i}]"));
        request.documents =
            items(json, "documents")?.into_iter().enumerate().map(document).collect::<Result<_, _>>()?;
    }
    request.extra_json = m.rest();
    Ok(request)
}

/// A text, or an object with one.
fn document(json: &str, path: &str) -> Result<String, Invalid> {
    if let Some(text) = string(json) {
        return Ok(text);
    }
    let wrong = || Invalid::at(path, "must be a string, or an object with a text");
    Members::read(json, path).map_err(|_| wrong())?.take("text")?.ok_or_else(wrong)
}

/// Cohere's object, with tokens where Jina tells them.
pub(crate) fn answer(answer: &RerankResponse) -> String {
    let row = |result: &tollgate_proto::v1::RerankResult| -> Value {
        let mut row = json!({"index": result.index, "relevance_score": result.relevance_score});
        if let Some(text) = &result.document {
            row["document"] = json!({"text": text});
        }
        row
    };
    let usage = answer.usage.as_ref();
    let tokens = usage.and_then(|u| u.input).map_or(0, |i| i.total);
    let started = answer.started.as_ref();
    let mut body = json!({
        "id": started.map_or("", |s| &s.response_id),
        "model": started.map_or("", |s| &s.served_model),
        "results": answer.results.iter().map(row).collect::<Vec<_>>(),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    });
    if let Some(units) = usage.and_then(|u| u.search_units) {
        body["meta"] = json!({"billed_units": {"search_units": units}});
    }
    body.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_texts_or_objects_with_one() {
        let request =
            read(br#"{"model":"m","query":"q","documents":["a",{"text":"b"}],"rank_fields":["text"]}"#).unwrap();
        assert_eq!(request.documents, ["a", "b"]);
        assert_eq!(request.extra_json, r#"{"rank_fields":["text"]}"#);
        let error = read(br#"{"model":"m","query":"q","documents":["a",{"title":"b"}]}"#).unwrap_err();
        assert_eq!(error.violations[0].0, "documents[1]");
    }
}
