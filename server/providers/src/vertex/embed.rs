//! Embeddings: predictions of a model, one for each text.

use bytes::Bytes;
use serde::Deserialize;
use tollgate_domain::Failure;
use tollgate_proto::v1::{CreateEmbeddingResponse, InputUsage, OutputUsage, Usage};

use crate::{
    EmbedCall, Written,
    gemini::embed::{Asked, response, unreadable},
    json::{Object, array},
    refusal,
};

pub(super) fn request(call: &EmbedCall<'_>) -> Result<Written, Failure> {
    let asked = Asked::read(call)?;
    let instance = |text: &&str| {
        let mut instance = Object::default();
        instance.field("content", text).maybe("task_type", asked.task_type.as_ref());
        instance.finish()
    };
    let mut body = Object::default();
    body.raw("instances", &array(&asked.texts.iter().map(instance).collect::<Vec<_>>()));
    if let Some(dimensions) = asked.dimensions {
        let mut parameters = Object::default();
        parameters.field("outputDimensionality", &dimensions);
        body.raw("parameters", &parameters.finish());
    }
    Ok(Written { body: body.finish().into_bytes(), unsupported: asked.unsupported, dropped: asked.dropped })
}

#[derive(Deserialize)]
struct Answer {
    predictions: Option<Vec<Prediction>>,
}

#[derive(Deserialize)]
struct Prediction {
    embeddings: Embeddings,
}

#[derive(Deserialize)]
struct Embeddings {
    values: Vec<f32>,
    statistics: Option<Statistics>,
}

#[derive(Deserialize)]
struct Statistics {
    /// Some versions write it as a float.
    token_count: Option<f64>,
}

/// Vectors in the order of the inputs; the tokens of all texts together, where each tells them.
pub(super) fn answer(body: &Bytes) -> Result<CreateEmbeddingResponse, Failure> {
    let answer: Answer = serde_json::from_slice(body).map_err(unreadable)?;
    let Some(predictions) = answer.predictions else { return Err(refusal::in_band(200, body, false)) };
    let tokens = |p: &Prediction| p.embeddings.statistics.as_ref()?.token_count.map(|n| n as u64);
    let total = predictions.iter().try_fold(0u64, |total, p| Some(total.saturating_add(tokens(p)?)));
    let usage = total.filter(|_| !predictions.is_empty()).map(|total| Usage {
        input: Some(InputUsage { total, ..InputUsage::default() }),
        output: Some(OutputUsage::default()),
        ..Usage::default()
    });
    Ok(response(predictions.into_iter().map(|p| p.embeddings.values), usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_add_up_to_too_much_are_the_most_that_can_be_said() {
        let prediction = r#"{"embeddings":{"values":[1],"statistics":{"token_count":1e19}}}"#;
        let body = Bytes::from(format!(r#"{{"predictions":[{prediction},{prediction}]}}"#));
        assert_eq!(answer(&body).unwrap().usage.unwrap().input.unwrap().total, u64::MAX);
    }
}
