//! Objects member by member: what has a name in the contract is taken, the rest is kept as text, in order.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, MapAccess},
};
use serde_json::value::RawValue;

use super::Invalid;

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 64;

/// The body as text that is one JSON value and not nested too deep.
pub(crate) fn text(body: &[u8]) -> Result<&str, Invalid> {
    let text = std::str::from_utf8(body).map_err(|e| Invalid::at("", format!("the body is not valid UTF-8: {e}")))?;
    if is_too_deep(body) {
        return Err(Invalid::at("", format!("the body is nested deeper than {MAX_DEPTH} levels")));
    }
    Ok(text)
}

fn is_too_deep(body: &[u8]) -> bool {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(byte) = body.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                // Text is most of a body: skipped at memory speed.
                at += 1;
                while let Some(found) = body.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
                    at += found;
                    if body[at] == b'"' {
                        break;
                    }
                    at += 2;
                }
                if at >= body.len() {
                    return false;
                }
            }
            _ => {}
        }
        at += 1;
    }
    false
}

/// An object's members, in order.
pub(crate) struct Members<'a> {
    path: String,
    left: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Members<'a> {
    /// Reads an object. A key that stands twice is refused: two readers could take it for two things.
    pub(crate) fn read(json: &'a str, path: &str) -> Result<Self, Invalid> {
        struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);
        impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl<'de> de::Visitor<'de> for Visitor {
                    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut pairs: Self::Value = Vec::with_capacity(8);
                        while let Some(Key(key)) = map.next_key()? {
                            if pairs.iter().any(|(k, _)| *k == key) {
                                return Err(de::Error::custom(format!("the member {key:?} stands there twice")));
                            }
                            pairs.push((key, map.next_value()?));
                        }
                        Ok(pairs)
                    }
                }
                deserializer.deserialize_map(Visitor).map(Pairs)
            }
        }
        #[derive(Deserialize, PartialEq)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

        let pairs: Pairs<'a> = serde_json::from_str(json).map_err(|e| Invalid::at(path, told(&e)))?;
        Ok(Self { path: path.to_owned(), left: pairs.0 })
    }

    /// Path of a member.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes a member's JSON; null is as good as absent.
    pub(crate) fn raw(&mut self, name: &str) -> Option<&'a str> {
        let at = self.left.iter().position(|(key, _)| key == name)?;
        let (_, raw) = self.left.remove(at);
        Some(raw.get()).filter(|json| *json != "null")
    }

    /// Takes a member as a `T`.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Invalid> {
        let Some(json) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(json).map(Some).map_err(|e| Invalid::at(self.path(name), told(&e)))
    }

    /// Looks at a member without taking it.
    pub(crate) fn peek(&self, name: &str) -> Option<&'a str> {
        self.left.iter().find(|(key, _)| key == name).map(|(_, raw)| raw.get())
    }

    /// Takes the members that are null.
    pub(crate) fn without_nulls(&mut self) {
        self.left.retain(|(_, raw)| raw.get() != "null");
    }

    /// What was not taken, as object text in order; empty when nothing is left.
    pub(crate) fn rest(self) -> String {
        if self.left.is_empty() {
            return String::new();
        }
        let member = |(key, raw): &(Cow<'_, str>, &RawValue)| {
            format!("{}:{}", serde_json::to_string(key).unwrap_or_default(), raw.get())
        };
        format!("{{{}}}", self.left.iter().map(member).collect::<Vec<_>>().join(","))
    }
}

/// A body with another model.
pub(crate) fn with_model(body: &[u8], model: &str) -> Result<Bytes, Invalid> {
    let model = serde_json::to_string(model).unwrap_or_default();
    Ok(edited(text(body)?, "", &[("model", Some(&model))])?.into())
}

/// An object's text with some members replaced, added (`Some`) or left out (`None`); the others keep their order and their values.
pub(crate) fn edited(json: &str, path: &str, edits: &[(&str, Option<&str>)]) -> Result<String, Invalid> {
    let members = Members::read(json, path)?;
    let mut object = String::with_capacity(json.len() + 64);
    let mut add = |key: &str, value: &str| {
        object.push(if object.is_empty() { '{' } else { ',' });
        object.push_str(&serde_json::to_string(key).unwrap_or_default());
        object.push(':');
        object.push_str(value);
    };
    for (key, raw) in &members.left {
        match edits.iter().find(|(name, _)| name == key) {
            None => add(key, raw.get()),
            Some((_, Some(new))) => add(key, new),
            Some((_, None)) => {}
        }
    }
    for (name, new) in edits.iter().filter(|(name, _)| !members.left.iter().any(|(key, _)| key == name)) {
        if let Some(new) = new {
            add(name, new);
        }
    }
    object.push_str(if object.is_empty() { "{}" } else { "}" });
    Ok(object)
}

/// The items of an array.
pub(crate) fn items<'a>(json: &'a str, path: &str) -> Result<Vec<&'a str>, Invalid> {
    let items: Vec<&'a RawValue> = serde_json::from_str(json).map_err(|e| Invalid::at(path, told(&e)))?;
    Ok(items.into_iter().map(RawValue::get).collect())
}

/// A string, if it is one.
pub(crate) fn string(json: &str) -> Option<String> {
    json.starts_with('"').then(|| serde_json::from_str(json).ok()).flatten()
}

fn told(error: &serde_json::Error) -> String {
    error.to_string()
}
