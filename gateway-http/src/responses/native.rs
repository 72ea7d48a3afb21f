//! The provider's own events, where it speaks this dialect: as they come, but for what the gateway keeps in its stead (`store`,
//! `previous_response_id`).

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use tollgate_proto::v1::completion_event::Event;

use super::{events::write, object};
use crate::{error::Refusal, openai::members::edited};

/// Prints the events of one answer.
#[derive(Default)]
pub(super) struct Natives {
    /// The response as it was told of last.
    response: String,
    /// Items that are complete.
    items: Vec<String>,
    sequence: u64,
    /// The last event, which waits until the answer is kept.
    last: Option<(String, String)>,
    /// What the gateway itself tells.
    own: Map<String, Value>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", default)]
    kind: String,
    sequence_number: Option<u64>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
}

/// What of a response is the gateway's to say.
pub(super) fn kept(response: &str, is_stored: bool, previous: Option<&str>) -> String {
    let previous = Value::from(previous).to_string();
    let store = if is_stored { "true" } else { "false" };
    let edits = [("store", Some(store)), ("previous_response_id", Some(previous.as_str()))];
    edited(response, "response", &edits).unwrap_or_else(|_| response.to_owned())
}

/// A response with what the gateway itself tells of it.
pub(super) fn with_own(response: &str, own: &Map<String, Value>) -> String {
    if own.is_empty() {
        return response.to_owned();
    }
    let own = Value::from(own.clone()).to_string();
    edited(response, "response", &[(object::OWN, Some(&own))]).unwrap_or_else(|_| response.to_owned())
}

impl Natives {
    pub(super) fn take(&mut self, body: &[u8], previous: Option<&str>, store: bool, out: &mut BytesMut) {
        let Some((text, head)) = std::str::from_utf8(body).ok().and_then(|text| Some((text, read(text)?))) else {
            return;
        };
        self.sequence = head.sequence_number.map_or(self.sequence + 1, |number| number + 1);
        if head.kind == "response.output_item.done" {
            self.items.extend(head.item.map(|item| item.get().to_owned()));
        }
        let Some(response) = head.response else { return write(&head.kind, body, out) };
        self.response = kept(response.get(), store, previous);
        if matches!(head.kind.as_str(), "response.completed" | "response.incomplete") {
            self.last = Some((head.kind, text.to_owned()));
            return;
        }
        self.print(&head.kind, text, out);
    }

    /// What comes behind the provider's last word.
    pub(super) fn note(&mut self, event: &Event) {
        object::note(&mut self.own, event);
        self.response = with_own(&self.response, &self.own);
    }

    /// The response as it is at its end; `None`: its provider did not say so.
    pub(super) fn response(&self) -> Option<&str> {
        self.last.as_ref().map(|_| self.response.as_str())
    }

    /// The last event. `is_stored`: as it came to be.
    pub(super) fn end(&mut self, is_stored: bool, out: &mut BytesMut) {
        let store = if is_stored { "true" } else { "false" };
        self.response = edited(&self.response, "response", &[("store", Some(store))]).unwrap_or_default();
        match self.last.take() {
            Some((kind, text)) => self.print(&kind, &text, out),
            // The gateway ended it: a budget affords no more.
            None => {
                let details = json!({"reason": "max_output_tokens"}).to_string();
                let edits = [("status", Some("\"incomplete\"")), ("incomplete_details", Some(details.as_str()))];
                self.made("response.incomplete", &edits, out);
            }
        }
    }

    /// The last event of an answer that broke.
    pub(super) fn fail(&mut self, refusal: &Refusal, out: &mut BytesMut) {
        let error = object::error(refusal).to_string();
        object::note_failure(&mut self.own, refusal);
        self.made("response.failed", &[("status", Some("\"failed\"")), ("error", Some(error.as_str()))], out);
    }

    /// An end of the gateway's own, with the items that are complete.
    fn made(&mut self, kind: &str, edits: &[(&str, Option<&str>)], out: &mut BytesMut) {
        let output = format!("[{}]", self.items.join(","));
        let edits: Vec<_> = edits.iter().copied().chain([("output", Some(output.as_str()))]).collect();
        let begun = if self.response.is_empty() { r#"{"object":"response"}"# } else { &self.response };
        let response = edited(begun, "response", &edits).unwrap_or_else(|_| begun.to_owned());
        let response = with_own(&response, &self.own);
        let number = self.sequence;
        let event = format!(r#"{{"type":"{kind}","sequence_number":{number},"response":{response}}}"#);
        write(kind, event.as_bytes(), out);
    }

    fn print(&self, kind: &str, text: &str, out: &mut BytesMut) {
        match edited(text, "", &[("response", Some(self.response.as_str()))]) {
            Ok(event) => write(kind, event.as_bytes(), out),
            Err(_) => write(kind, text.as_bytes(), out),
        }
    }
}

fn read(text: &str) -> Option<Head<'_>> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::responses::events::written;

    #[test]
    fn an_answer_that_breaks_keeps_the_items_that_were_complete() {
        let (mut natives, mut out) = (Natives::default(), BytesMut::new());
        let item = json!({"id": "msg_1", "type": "message", "status": "completed", "content": []});
        for (number, mut event) in [
            json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
            json!({"type": "response.output_item.added", "output_index": 1, "item": {"id": "msg_2"}}),
        ]
        .into_iter()
        .enumerate()
        {
            event["sequence_number"] = number.into();
            natives.take(event.to_string().as_bytes(), None, true, &mut out);
        }
        natives.fail(&Refusal::new(502, "api_error", "stream_truncated", "it broke"), &mut out);
        let (kind, data) = written(&out).pop().unwrap();
        let event: Value = serde_json::from_str(&data).unwrap();
        assert_eq!((kind.as_str(), &event["sequence_number"]), ("response.failed", &json!(3)));
        let response = &event["response"];
        assert_eq!((&response["id"], &response["status"]), (&json!("resp_1"), &json!("failed")));
        assert_eq!((&response["output"], &response["error"]["code"]), (&json!([item]), &json!("stream_truncated")));
    }
}
