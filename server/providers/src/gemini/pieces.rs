//! A function call whose arguments come piece by piece: values and where in the arguments they belong.
//!
//! Provider page: "Streaming function call arguments" of Vertex AI. Answers come so only where it is asked for.

use serde_json::{Map, Value};

use super::wire::{FunctionCall, PartialArg};

/// The most members and items that a call's arguments may be made of: it bounds what a few bytes of a path can make us hold.
const MAX_VALUES: usize = 100_000;
/// The most members and items that a path may lead through: as deep as a parser of JSON follows, for arguments are written and dropped
/// level by level.
const MAX_DEPTH: usize = 100;

/// A call that is not complete.
pub(super) struct PiecedCall {
    pub(super) id: Option<String>,
    pub(super) name: String,
    arguments: Value,
    /// The members and items that may still be made.
    room: usize,
}

enum Step<'a> {
    Member(&'a str),
    Item(usize),
}

impl PiecedCall {
    pub(super) fn new(call: &FunctionCall<'_>) -> Self {
        let name = call.name.clone().unwrap_or_default();
        Self { id: call.id.clone(), name, arguments: Value::Object(Map::new()), room: MAX_VALUES }
    }

    /// Takes the pieces. Text grows; anything else is replaced. One whose place cannot be read is left out.
    pub(super) fn take(&mut self, pieces: Vec<PartialArg>) {
        for piece in pieces {
            let path = piece.json_path.as_deref();
            let Some(place) = path.and_then(|path| reach(&mut self.arguments, path, &mut self.room)) else { continue };
            match (place, piece) {
                (Value::String(text), PartialArg { string_value: Some(more), .. }) => text.push_str(&more),
                (place, PartialArg { string_value: Some(text), .. }) => *place = Value::String(text),
                (place, PartialArg { number_value: Some(number), .. }) => *place = Value::Number(number),
                (place, PartialArg { bool_value: Some(is_true), .. }) => *place = Value::Bool(is_true),
                (place, _) => *place = Value::Null,
            }
        }
    }

    /// The arguments as text.
    pub(super) fn arguments(&self) -> String {
        self.arguments.to_string()
    }
}

/// The value at a path (RFC 9535: names and indexes only), made where there is none and there is room.
fn reach<'a>(root: &'a mut Value, path: &str, room: &mut usize) -> Option<&'a mut Value> {
    let mut place = root;
    for step in steps(path)? {
        place = match step {
            Step::Member(name) => {
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                let members = place.as_object_mut()?;
                if !members.contains_key(name) {
                    *room = room.checked_sub(1)?;
                }
                members.entry(name).or_insert(Value::Null)
            }
            Step::Item(index) => {
                if !place.is_array() {
                    *place = Value::Array(Vec::new());
                }
                let items = place.as_array_mut()?;
                if let Some(made) = (index + 1).checked_sub(items.len()) {
                    *room = room.checked_sub(made)?;
                    items.resize(index + 1, Value::Null);
                }
                &mut items[index]
            }
        };
    }
    Some(place)
}

fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let step;
        (step, rest) = match rest.strip_prefix('.') {
            Some(name) => {
                let (name, rest) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
                (Step::Member(name), rest)
            }
            None => {
                let inside = rest.strip_prefix('[')?;
                match inside.strip_prefix(['\'', '"']) {
                    Some(name) => {
                        let quote = inside.chars().next()?;
                        let (name, rest) = name.split_once(quote)?;
                        (Step::Member(name), rest.strip_prefix(']')?)
                    }
                    None => {
                        let (index, rest) = inside.split_once(']')?;
                        (Step::Item(index.parse().ok().filter(|index| *index < MAX_VALUES)?), rest)
                    }
                }
            }
        };
        if steps.len() == MAX_DEPTH {
            return None;
        }
        steps.push(step);
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_find_their_place_in_objects_and_arrays() {
        let call = FunctionCall { id: None, name: None, args: None, partial_args: None, will_continue: None };
        let mut call = PiecedCall::new(&call);
        let piece = |path: &str, value: Value| {
            let mut piece = serde_json::json!({"jsonPath": path});
            piece.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
            serde_json::from_value::<PartialArg>(piece).unwrap()
        };
        call.take(vec![
            piece("$.city", serde_json::json!({"stringValue": "San "})),
            piece("$.stops[1].name", serde_json::json!({"stringValue": "b"})),
            piece("$.stops[0]['the \u{e9}nd']", serde_json::json!({"boolValue": true})),
            piece("$.city", serde_json::json!({"stringValue": "Jos\u{e9}"})),
            piece("$.days", serde_json::json!({"numberValue": 3})),
            piece("$.none", serde_json::json!({"nullValue": "NULL_VALUE"})),
            piece("$.far[99999999999]", serde_json::json!({"numberValue": 1})),
            piece("nowhere", serde_json::json!({"numberValue": 1})),
        ]);
        let expected = "{\"city\":\"San Jos\u{e9}\",\"stops\":[{\"the \u{e9}nd\":true},{\"name\":\"b\"}],\"days\":3,\"none\":null}";
        assert_eq!(call.arguments(), expected);
    }

    #[test]
    fn a_path_makes_neither_deep_nor_large_what_it_leads_to() {
        let call = FunctionCall { id: None, name: None, args: None, partial_args: None, will_continue: None };
        let taken = |paths: &[String]| {
            let mut call = PiecedCall::new(&call);
            let piece =
                |path| serde_json::from_value(serde_json::json!({"jsonPath": path, "boolValue": true})).unwrap();
            call.take(paths.iter().map(piece).collect());
            call.arguments()
        };
        assert_eq!(taken(&[format!("${}", ".a".repeat(1_000_000))]), "{}");
        assert!(taken(&[format!("${}", ".a".repeat(100))]).contains("true"));
        let large: Vec<_> = (0..100).map(|n| format!("$.a{n}[99999][99999]")).collect();
        assert!(taken(&large).len() < 1_000_000);
        let names: Vec<_> = (0..200_000).map(|n| format!("$.a{n}")).collect();
        assert_eq!(taken(&names).matches("true").count(), MAX_VALUES);
        assert!(taken(&["$.a[9999]".to_owned()]).contains("true"));
    }
}
