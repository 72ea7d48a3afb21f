//! Files and batches as OpenAI's API has them, as Azure does and as Mistral does. A batch goes on until a test ends it.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::{HeaderMap, Method, Response, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::mistral_jobs;
use super::openai;
use super::playback::Reply;
use super::respond::{json_reply, set};
use super::script::Step;

/// What the provider keeps.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Shelves>);

#[derive(Debug, Default)]
struct Shelves {
    files: BTreeMap<String, (Value, Bytes)>,
    batches: BTreeMap<String, Value>,
    made: usize,
    /// The next output of a batch that is asked for lacks its last line.
    cuts_output: bool,
}

pub(super) type Refused = (StatusCode, String);

pub(super) fn refused(status: StatusCode, message: impl Into<String>) -> Refused {
    (status, message.into())
}

fn missing(what: &str, id: &str) -> Refused {
    refused(StatusCode::NOT_FOUND, format!("No such {what} object: {id}"))
}

impl Shelves {
    fn id(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}{:08}", self.made)
    }

    fn keep(&mut self, filename: &str, purpose: &str, expires_after: Option<u64>, bytes: Bytes) -> Value {
        let id = self.id("file-up");
        let created = 1_700_000_000_u64;
        let object = json!({
            "id": id, "object": "file", "bytes": bytes.len(), "created_at": created, "filename": filename,
            "purpose": purpose, "status": "processed", "expires_at": expires_after.map(|after| created + after)
        });
        self.files.insert(id, (object.clone(), bytes));
        object
    }

    fn begin(&mut self, asked: &Value) -> Result<Value, Refused> {
        let input = asked["input_file_id"].as_str().unwrap_or_default();
        let (file, bytes) = self.files.get(input).ok_or_else(|| missing("File", input))?;
        if file["purpose"] != "batch" {
            return Err(refused(StatusCode::BAD_REQUEST, "The file is not for batches."));
        }
        let lines = lines(bytes);
        if asked["completion_window"] != "24h" {
            return Err(refused(StatusCode::BAD_REQUEST, "Invalid value for completion_window."));
        }
        let total = lines.len();
        let id = self.id("batch_up");
        let batch = json!({
            "id": id, "object": "batch", "endpoint": asked["endpoint"], "errors": null, "input_file_id": input,
            "completion_window": "24h", "status": "validating", "output_file_id": null, "error_file_id": null,
            "created_at": 1_700_000_000, "in_progress_at": null, "expires_at": 1_700_086_400, "finalizing_at": null,
            "completed_at": null, "failed_at": null, "expired_at": null, "cancelling_at": null, "cancelled_at": null,
            "request_counts": {"total": total, "completed": 0, "failed": 0}, "metadata": asked["metadata"]
        });
        self.batches.insert(id, batch.clone());
        Ok(batch)
    }

    fn look_at(&mut self, id: &str) -> Result<Value, Refused> {
        let batch = self.batches.get_mut(id).ok_or_else(|| missing("Batch", id))?;
        if batch["status"] == "validating" {
            batch["status"] = "in_progress".into();
        }
        Ok(batch.clone())
    }

    fn cancel(&mut self, id: &str) -> Result<Value, Refused> {
        let batch = self.batches.get_mut(id).ok_or_else(|| missing("Batch", id))?;
        if !matches!(batch["status"].as_str(), Some("validating" | "in_progress")) {
            return Err(refused(StatusCode::CONFLICT, "Cannot cancel a batch that has ended."));
        }
        batch["status"] = "cancelling".into();
        batch["cancelling_at"] = 1_700_000_300.into();
        Ok(batch.clone())
    }

    fn content(&self, id: &str) -> Option<Bytes> {
        self.files.get(id).map(|(_, bytes)| bytes.clone())
    }

    fn object(&self, id: &str) -> Result<Value, Refused> {
        self.files.get(id).map(|(object, _)| object.clone()).ok_or_else(|| missing("File", id))
    }

    /// The bytes of a file as they are told.
    fn download(&mut self, id: &str) -> Result<Bytes, Refused> {
        let (file, bytes) = self.files.get(id).ok_or_else(|| missing("File", id))?;
        if file["purpose"] != "batch_output" || !std::mem::take(&mut self.cuts_output) {
            return Ok(bytes.clone());
        }
        let before = bytes.trim_ascii_end().iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Ok(bytes.slice(..before))
    }

    /// Ends a batch: the first lines are answered, the others are not.
    fn end(&mut self, id: &str, status: &str, answered: usize) {
        let Some(batch) = self.batches.get(id).cloned() else { return };
        let input = batch["input_file_id"].as_str().unwrap_or_default();
        let lines = self.files.get(input).map(|(_, bytes)| lines(bytes)).unwrap_or_default();
        let (mut output, mut errors) = (String::new(), String::new());
        let (mut completed, mut failed) = (0, 0);
        for (at, line) in lines.iter().enumerate() {
            let (status_code, body) = match openai::read(&line["body"]) {
                _ if at >= answered => {
                    let error = json!({"code": "batch_expired", "message": "This request could not be executed."});
                    let told = json!({"id": format!("batch_req_{at}"), "custom_id": line["custom_id"], "response": null,
                                      "error": error});
                    errors += &format!("{told}\n");
                    continue;
                }
                Ok(ask) => {
                    let answer = ask.answer(&Step::default());
                    let body = openai::whole(&ask, &answer, &Step::default(), at as u64, 1_700_000_000);
                    (200, serde_json::from_slice(&body).unwrap_or_default())
                }
                Err(message) => (400, openai::error(400, Some(&message))),
            };
            let response = json!({"status_code": status_code, "request_id": format!("req_{at}"), "body": body});
            let told = json!({"id": format!("batch_req_{at}"), "custom_id": line["custom_id"], "response": response,
                              "error": null});
            match status_code {
                200 => (completed, output) = (completed + 1, output + &format!("{told}\n")),
                _ => (failed, errors) = (failed + 1, errors + &format!("{told}\n")),
            }
        }
        let mut written = |text: String| match text.as_str() {
            "" => Value::Null,
            _ => self.keep("output.jsonl", "batch_output", None, text.into())["id"].clone(),
        };
        let (output, errors) = (written(output), written(errors));
        if let Some(batch) = self.batches.get_mut(id) {
            batch["status"] = status.into();
            batch[format!("{status}_at")] = 1_700_000_600.into();
            batch["output_file_id"] = output;
            batch["error_file_id"] = errors;
            batch["request_counts"] = json!({"total": lines.len(), "completed": completed, "failed": failed});
        }
    }
}

pub(super) fn lines(bytes: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(bytes).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

impl Kept {
    /// Ends every batch that is going on and whose input has this word in it.
    pub(super) fn end(&self, word: &str, status: &str, answered: usize) {
        let mut kept = self.0.lock();
        let going_on =
            |batch: &Value| matches!(batch["status"].as_str(), Some("validating" | "in_progress" | "cancelling"));
        let ids: Vec<String> =
            kept.batches.iter().filter(|(_, batch)| going_on(batch)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            let input = kept.batches[&id]["input_file_id"].as_str().unwrap_or_default().to_owned();
            let holds = kept.files.get(&input).is_some_and(|(_, bytes)| String::from_utf8_lossy(bytes).contains(word));
            if holds {
                kept.end(&id, status, answered);
            }
        }
    }

    /// The next output of a batch that is asked for lacks its last line.
    pub(super) fn cut_output(&self) {
        self.0.lock().cuts_output = true;
    }

    /// What was uploaded, oldest first.
    pub(super) fn contents(&self) -> Vec<String> {
        self.0.lock().files.values().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    pub(super) async fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response<Reply> {
        match self.told(method, path, headers, body).await {
            Ok(response) => response,
            Err((status, message)) => json_reply(status, &openai::error(status.as_u16(), Some(&message))),
        }
    }

    async fn told(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Reply>, Refused> {
        let whole = |object: &Value| Ok(json_reply(StatusCode::OK, object));
        let path = path.rsplit("/v1/").next().unwrap_or_default().trim_start_matches("/openai/");
        let segments: Vec<&str> = path.split('/').collect();
        match (method.as_str(), segments.as_slice()) {
            (_, ["batch", "jobs", rest @ ..]) => {
                let mut kept = self.0.lock();
                let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
                let job = match (method.as_str(), rest) {
                    ("POST", []) => {
                        let asked = mistral_jobs::asked(&asked, |id| kept.content(id))?;
                        kept.begin(&asked)?
                    }
                    ("GET", [id]) => kept.look_at(id)?,
                    ("POST", [id, "cancel"]) => kept.cancel(id)?,
                    _ => return Err(refused(StatusCode::NOT_FOUND, "no Route matched with those values")),
                };
                whole(&mistral_jobs::told(&job))
            }
            ("POST", ["files"]) => {
                let (filename, purpose, expires_after, bytes) = form(headers, body).await?;
                let object = self.0.lock().keep(&filename, &purpose, expires_after, bytes);
                whole(&object)
            }
            ("GET", ["files", id]) => {
                let object = self.0.lock().object(id)?;
                whole(&object)
            }
            ("GET", ["files", id, "content"]) => {
                let bytes = self.0.lock().download(id)?;
                let mut response = Response::new(Reply::Whole(Some(bytes)));
                set(&mut response, header::CONTENT_TYPE, "application/octet-stream");
                Ok(response)
            }
            ("DELETE", ["files", id]) => {
                self.0.lock().files.remove(*id).ok_or_else(|| missing("File", id))?;
                whole(&json!({"id": id, "object": "file", "deleted": true}))
            }
            ("POST", ["batches"]) => {
                let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
                let begun = self.0.lock().begin(&asked)?;
                whole(&begun)
            }
            ("GET", ["batches", id]) => whole(&self.0.lock().look_at(id)?),
            ("POST", ["batches", id, "cancel"]) => whole(&self.0.lock().cancel(id)?),
            _ => Err(refused(StatusCode::NOT_FOUND, format!("Unknown request URL: {method} {path}."))),
        }
    }
}

async fn form(headers: &HeaderMap, body: Bytes) -> Result<(String, String, Option<u64>, Bytes), Refused> {
    let wrong = |error: multer::Error| refused(StatusCode::BAD_REQUEST, error.to_string());
    let told = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(told).map_err(wrong)?;
    let mut form = multer::Multipart::new(futures::stream::iter([Ok::<_, std::io::Error>(body)]), boundary);
    let (mut file, mut purpose, mut expires_after) = (None, None, None);
    while let Some(field) = form.next_field().await.map_err(wrong)? {
        match field.name().unwrap_or_default() {
            "file" => {
                let filename = field.file_name().unwrap_or_default().to_owned();
                file = Some((filename, field.bytes().await.map_err(wrong)?));
            }
            "purpose" => purpose = Some(field.text().await.map_err(wrong)?),
            "expires_after[seconds]" => expires_after = field.text().await.map_err(wrong)?.parse().ok(),
            _ => {}
        }
    }
    let required = || refused(StatusCode::BAD_REQUEST, "'file' and 'purpose' are required.");
    let (filename, bytes) = file.ok_or_else(required)?;
    Ok((filename, purpose.ok_or_else(required)?, expires_after, bytes))
}
