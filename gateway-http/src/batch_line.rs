//! A line of a batch's input: a request of OpenAI's API inside an object, and the same with another model.

use tollgate_proto::v1::{CompletionRequest, CreateEmbeddingRequest, CreateModerationRequest};

use crate::{
    openai::{
        self, Invalid,
        members::{Members, edited, text},
        wishes,
    },
    responses,
};

/// What a line asks, as a call of its own would.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A completion, whatever its dialect.
    Completion(Box<CompletionRequest>),
    /// Embeddings.
    Embedding(CreateEmbeddingRequest),
    /// A moderation.
    Moderation(CreateModerationRequest),
}

/// A line that was read.
#[derive(Clone, Debug)]
pub struct BatchLine {
    /// What it asks for: `/v1/chat/completions`, ...
    pub url: String,
    /// The model that it names.
    pub model: String,
    /// What it asks.
    pub asked: Asked,
    /// What it says to the gateway.
    pub wishes: LineWishes,
}

/// What a line says to the gateway. Its fallbacks are none: a batch is at one deployment.
#[derive(Clone, Debug)]
pub struct LineWishes {
    /// Its tags, by the members that they stand in.
    pub tags: Vec<(String, Vec<String>)>,
    /// Whether what the provider cannot heed is left out.
    pub drop_params: Option<bool>,
}

/// What lines may ask for, and how each of them spells its output limit.
const URLS: [(&str, Option<&str>); 5] = [
    ("/v1/chat/completions", Some("max_completion_tokens")),
    ("/v1/completions", Some("max_tokens")),
    ("/v1/responses", Some("max_output_tokens")),
    ("/v1/embeddings", None),
    ("/v1/moderations", None),
];

/// Reads a line. Fields are named from the line on: `body.messages`.
pub fn read(line: &[u8]) -> Result<BatchLine, Invalid> {
    let mut m = Members::read(text(line)?, "")?;
    let required = |name: &str, found: Option<String>| found.ok_or_else(|| Invalid::at(name, "is required"));
    required("custom_id", m.take("custom_id")?)?;
    let method: String = required("method", m.take("method")?)?;
    if method != "POST" {
        return Err(Invalid::at("method", "must be POST"));
    }
    let url: String = required("url", m.take("url")?)?;
    let body = m.raw("body").ok_or_else(|| Invalid::at("body", "is required"))?;
    let (left, aside) = wishes::cut_off(body).map_err(in_body)?;
    let bytes = left.as_bytes();
    let asked = match url.as_str() {
        "/v1/chat/completions" => openai::read_chat(bytes).map(completion),
        "/v1/completions" => openai::read_text(bytes).map(completion),
        "/v1/responses" => alone(body).and_then(|()| responses::read(bytes)).map(completion),
        "/v1/embeddings" => openai::read_embedding(bytes).map(Asked::Embedding),
        "/v1/moderations" => openai::read_moderation(bytes).map(Asked::Moderation),
        _ => {
            let known: Vec<_> = URLS.iter().map(|(url, _)| *url).collect();
            return Err(Invalid::at("url", format!("must be one of {}", known.join(", "))));
        }
    };
    let asked = asked.map_err(in_body)?;
    let mut m = Members::read(body, "body")?;
    let model: String = required("body.model", m.take("model")?)?;
    let tags = wishes::tags_by_place(&mut m)?.into_iter().filter(|(_, tags)| !tags.is_empty());
    let tags = tags.map(|(place, tags)| (m.path(place), tags)).collect();
    let wishes = LineWishes { tags, drop_params: aside.drop_params };
    Ok(BatchLine { url, model, asked, wishes })
}

fn in_body(mut invalid: Invalid) -> Invalid {
    for (field, _) in &mut invalid.violations {
        *field = format!("body.{field}").trim_end_matches('.').to_owned();
    }
    invalid
}

fn completion(request: CompletionRequest) -> Asked {
    Asked::Completion(Box::new(request))
}

/// What the gateway keeps of conversations the provider does not know.
fn alone(body: &str) -> Result<(), Invalid> {
    match Members::read(body, "")?.raw("previous_response_id") {
        Some(_) => {
            Err(Invalid::at("previous_response_id", "a line of a batch stands alone; send the conversation itself"))
        }
        None => Ok(()),
    }
}

/// The line with another model, an output limit where there is one to set, and without what it says to the gateway.
pub fn rewritten(line: &[u8], model: &str, cap: Option<u64>) -> Result<String, Invalid> {
    let line = text(line)?;
    let mut m = Members::read(line, "")?;
    let url: String = m.take("url")?.unwrap_or_default();
    let (body, _) = wishes::cut_off(m.raw("body").unwrap_or("{}")).map_err(in_body)?;
    let model = serde_json::to_string(model).unwrap_or_default();
    let limit = URLS.iter().find(|(known, _)| *known == url).and_then(|(_, limit)| *limit);
    let cap = cap.map(|cap| cap.to_string());
    let mut edits = vec![("model", Some(model.as_str()))];
    if let (Some(limit), Some(cap)) = (limit, &cap) {
        edits.push((limit, Some(cap.as_str())));
    }
    let body = edited(&body, "body", &edits)?;
    edited(line, "", &[("body", Some(&body))])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"alias","messages":[{"role":"user","content":"hi"}],"seed":9007199254740993}}"#;

    #[test]
    fn a_line_keeps_what_nobody_changes() {
        let line = read(LINE.as_bytes()).unwrap();
        assert_eq!((line.url.as_str(), line.model.as_str()), ("/v1/chat/completions", "alias"));
        let written = rewritten(LINE.as_bytes(), "upstream", None).unwrap();
        assert_eq!(written, LINE.replace("alias", "upstream"));
        let capped = rewritten(LINE.as_bytes(), "upstream", Some(9)).unwrap();
        assert!(capped.ends_with(r#""seed":9007199254740993,"max_completion_tokens":9}}"#), "{capped}");
    }

    fn placed(place: &str, tags: &[&str]) -> (String, Vec<String>) {
        (place.to_owned(), tags.iter().map(|tag| (*tag).to_owned()).collect())
    }

    #[test]
    fn what_a_line_says_to_the_gateway_goes_no_further() {
        let with = |members: &str| LINE.replace(r#""seed":"#, &format!(r#"{members},"seed":"#));
        let line = with(r#""metadata":{"tags":["pii"],"job":"1"},"fallbacks":["other"],"drop_params":true"#);
        let LineWishes { tags, drop_params } = read(line.as_bytes()).unwrap().wishes;
        assert_eq!((tags, drop_params), (vec![placed("body.metadata.tags", &["pii"])], Some(true)));
        let written = rewritten(line.as_bytes(), "upstream", None).unwrap();
        assert_eq!(written, with(r#""metadata":{"job":"1"}"#).replace("alias", "upstream"));
        let beside = with(r#""tags":"a, b""#);
        assert_eq!(read(beside.as_bytes()).unwrap().wishes.tags, [placed("body.tags", &["a", "b"])]);
        let both = with(r#""tags":["night"],"metadata":{"tags":["pii"]}"#);
        let places = [placed("body.metadata.tags", &["pii"]), placed("body.tags", &["night"])];
        assert_eq!(read(both.as_bytes()).unwrap().wishes.tags, places);
        let embedding = r#"{"custom_id":"1","method":"POST","url":"/v1/embeddings","body":{"model":"a","input":"hi","tags":["b"]}}"#;
        assert_eq!(read(embedding.as_bytes()).unwrap().wishes.tags, [placed("body.tags", &["b"])]);
        assert!(!rewritten(embedding.as_bytes(), "a", None).unwrap().contains("tags"));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_by_its_place() {
        let field = |line: &str| read(line.as_bytes()).unwrap_err().violations[0].0.clone();
        assert_eq!(field(&LINE.replace("POST", "GET")), "method");
        assert_eq!(field(&LINE.replace("/v1/chat/completions", "/v1/images/generations")), "url");
        assert_eq!(field(&LINE.replace(r#""custom_id":"1","#, "")), "custom_id");
        assert_eq!(field(&LINE.replace(r#""model":"alias","#, "")), "body.model");
        assert_eq!(field(&LINE.replace(r#""content":"hi""#, r#""content":7"#)), "body.messages[0].content");
        let response = r#"{"custom_id":"1","method":"POST","url":"/v1/responses","body":{"model":"a","input":"hi","previous_response_id":"resp_1"}}"#;
        assert_eq!(field(response), "body.previous_response_id");
        assert_eq!(field(&LINE.replace(r#""seed":"#, r#""tags":["a",7],"seed":"#)), "body.tags");
        assert_eq!(field("{"), "");
    }
}
