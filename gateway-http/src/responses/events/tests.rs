use tollgate_proto::v1::Started;

use super::*;

fn piece(part: u32, piece: Piece) -> Event {
    Event::Delta(Delta { part, piece: Some(piece), ..Delta::default() })
}

/// The events of an answer that says this, with the names of all and the data of each.
struct Told(Vec<(String, Value)>);

impl Told {
    fn of(said: impl IntoIterator<Item = Event>) -> Self {
        let (mut events, mut out) = (Events::new(Map::new()), BytesMut::new());
        let started = Event::Started(Started { call_id: "c".into(), ..Started::default() });
        for event in [started].into_iter().chain(said).chain([Event::Finished(Finished::default())]) {
            events.take(CompletionEvent { event: Some(event), ..CompletionEvent::default() }, &mut out);
        }
        let response = events.response();
        events.end(response, &mut out);
        Self(written(&out).into_iter().map(|(kind, data)| (kind, serde_json::from_str(&data).unwrap())).collect())
    }

    /// Their names behind those by which any answer begins, and before its end.
    fn names(&self) -> Vec<&str> {
        let names: Vec<_> = self.0.iter().map(|(kind, _)| kind.trim_start_matches("response.")).collect();
        assert_eq!((&names[..2], names[names.len() - 1]), (&["created", "in_progress"][..], "completed"));
        names[2..names.len() - 1].to_vec()
    }

    /// The data of the first of a name.
    fn data(&self, name: &str) -> &Value {
        let found = self.0.iter().find(|(kind, _)| kind.trim_start_matches("response.") == name);
        &found.unwrap_or_else(|| panic!("no {name} in {:?}", self.0)).1
    }

    /// The first item of the answer: as it was done, and as the answer's end has it.
    fn item(&self) -> &Value {
        let item = &self.data("output_item.done")["item"];
        assert_eq!(self.data("completed")["response"]["output"][0], *item);
        item
    }
}

#[test]
fn a_refusal_is_told_in_its_own_events() {
    let told = Told::of([piece(0, Piece::Refusal("I can".into())), piece(0, Piece::Refusal("not.".into()))]);
    let names = [
        "output_item.added",
        "content_part.added",
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
    ];
    assert_eq!(told.names(), names);
    assert_eq!(told.data("refusal.delta")["delta"], "I can");
    assert_eq!(told.data("refusal.done")["refusal"], "I cannot.");
    assert_eq!(told.item()["content"], json!([{"type": "refusal", "refusal": "I cannot."}]));
}

#[test]
fn the_call_of_a_custom_tool_has_an_input_and_no_arguments() {
    let start = ToolCallStart { id: "call_1".into(), name: "shell".into(), type_native: "custom".into() };
    let told = Told::of([
        piece(0, Piece::ToolCallStart(start)),
        piece(0, Piece::ToolArguments("ls ".into())),
        piece(0, Piece::ToolArguments("-l".into())),
    ]);
    let names = [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ];
    assert_eq!(told.names(), names);
    assert_eq!(told.data("output_item.added")["item"]["type"], "custom_tool_call");
    assert_eq!(told.data("custom_tool_call_input.delta")["delta"], "ls ");
    assert_eq!(told.data("custom_tool_call_input.done")["input"], "ls -l");
    let item = told.item();
    assert_eq!((&item["type"], &item["call_id"]), (&json!("custom_tool_call"), &json!("call_1")));
    assert_eq!((&item["name"], &item["input"], item.get("arguments")), (&json!("shell"), &json!("ls -l"), None));
}

#[test]
fn a_citation_is_told_and_stays_with_the_text_that_it_is_of() {
    let page = json!({"start_index": 0, "end_index": 4, "url": "https://lima.example", "title": "Lima"});
    let mut flat = json!({"type": "url_citation"});
    flat.as_object_mut().unwrap().extend(page.as_object().unwrap().clone());
    // As the API has it itself, and one level deeper as chats do.
    for cited in [flat.clone(), json!({"type": "url_citation", "url_citation": page})] {
        let cited = json!({"annotations": [cited]}).to_string();
        let told = Told::of([piece(0, Piece::Text("Lima".into())), piece(1, Piece::OpaqueJson(cited))]);
        let added = told.data("output_text.annotation.added");
        assert_eq!((&added["annotation"], &added["annotation_index"]), (&flat, &json!(0)));
        assert_eq!((&added["output_index"], &added["content_index"]), (&json!(0), &json!(0)));
        assert_eq!(told.item()["content"][0]["annotations"], json!([flat]));
    }
}
