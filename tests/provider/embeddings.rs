//! Embeddings.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tollgate_tests::provider::ScriptedProvider;

use crate::caller;

async fn embed(provider: &ScriptedProvider, input: Value, extra: Value) -> Value {
    let mut call = json!({ "model": "e", "input": input });
    for (name, value) in extra.as_object().into_iter().flatten() {
        call[name] = value.clone();
    }
    caller().post(&(provider.base_url() + "/embeddings"), &call).await.expect("an answer").json()
}

#[tokio::test]
async fn the_same_text_has_the_same_vector_in_both_encodings() {
    let provider = ScriptedProvider::start().await;

    let floats = embed(&provider, json!("a b"), json!({ "dimensions": 8 })).await;
    let packed = embed(&provider, json!(["x", "a b"]), json!({ "dimensions": 8, "encoding_format": "base64" })).await;

    let floats: Vec<f32> = serde_json::from_value(floats["data"][0]["embedding"].clone()).unwrap();
    let bytes = BASE64_STANDARD.decode(packed["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let unpacked: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(floats, unpacked);
    assert_eq!(packed["usage"]["prompt_tokens"], 3);
}

#[tokio::test]
async fn tokens_are_inputs_too() {
    let provider = ScriptedProvider::start().await;

    let one = embed(&provider, json!([1, 2, 3]), json!({})).await;
    let two = embed(&provider, json!([[1, 2, 3], [4]]), json!({})).await;

    assert_eq!(one["data"].as_array().unwrap().len(), 1);
    assert_eq!(two["data"].as_array().unwrap().len(), 2);
    assert_eq!(one["data"][0]["embedding"], two["data"][0]["embedding"]);
    assert_eq!(two["usage"]["prompt_tokens"], 4);
    assert_eq!(embed(&provider, json!([]), json!({})).await["error"]["type"], "invalid_request_error");
}
