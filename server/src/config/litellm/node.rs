//! A YAML document as it is written: figures keep their digits.
//!
//! serde_yaml reads `3e-06` as a binary fraction when nobody says what it wants. A price must not pass through one, so the document is read
//! twice: once for its shape, once along that shape with every number as text.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde_yaml_ng::Value;

/// A part of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Null,
    Flag(bool),
    /// As written: `3e-06`.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Reads a document; the error tells the line.
    pub(super) fn read(text: &str) -> Result<Self, serde_yaml_ng::Error> {
        let shape: Value = serde_yaml_ng::from_str(text)?;
        let mut node = Along(&shape).deserialize(serde_yaml_ng::Deserializer::from_str(text))?;
        node.merge();
        Ok(node)
    }

    /// An entry of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// `<<` of YAML: what the other map has, and this one does not.
    fn merge(&mut self) {
        match self {
            Self::List(items) => items.iter_mut().for_each(Self::merge),
            Self::Map(entries) => {
                entries.iter_mut().for_each(|(_, node)| node.merge());
                while let Some(at) = entries.iter().position(|(name, _)| name == "<<") {
                    let others = match entries.remove(at).1 {
                        Self::List(items) => items,
                        one => vec![one],
                    };
                    for (name, node) in others.into_iter().flat_map(|other| match other {
                        Self::Map(more) => more,
                        _ => Vec::new(),
                    }) {
                        if !entries.iter().any(|(known, _)| *known == name) {
                            entries.push((name, node));
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// What it is, in words of the operator's.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Flag(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Where no number can be had as text: behind a tag.
impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Flag(*flag),
            Value::Number(number) => Self::Number(number.to_string()),
            Value::String(text) => Self::Text(text.clone()),
            Value::Sequence(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Mapping(map) => Self::Map(map.iter().map(|(key, value)| (name(key), Self::from(value))).collect()),
            Value::Tagged(tagged) => Self::from(&tagged.value),
        }
    }
}

/// A key as text, whatever it was.
fn name(key: &Value) -> String {
    match key {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    }
}

/// Reads what has the shape of this value.
struct Along<'a>(&'a Value);

impl<'de> DeserializeSeed<'de> for Along<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.0 {
            Value::Number(_) => deserializer.deserialize_str(Written),
            Value::Sequence(items) => deserializer.deserialize_seq(Items(items)),
            Value::Mapping(map) => deserializer.deserialize_map(Entries(map)),
            other => de::Deserialize::deserialize(deserializer).map(|IgnoredAny| Node::from(other)),
        }
    }
}

struct Written;

impl de::Visitor<'_> for Written {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Number(text.to_owned()))
    }
}

struct Items<'a>(&'a [Value]);

impl<'de> de::Visitor<'de> for Items<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        for shape in self.0 {
            items.extend(access.next_element_seed(Along(shape))?);
        }
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::List(items))
    }
}

struct Entries<'a>(&'a serde_yaml_ng::Mapping);

impl<'de> de::Visitor<'de> for Entries<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        // The shape has the entries in the order of the text.
        for (key, shape) in self.0 {
            if access.next_key::<IgnoredAny>()?.is_some() {
                entries.push((name(key), access.next_value_seed(Along(shape))?));
            }
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_the_digits_they_are_written_with() {
        let node = Node::read("a: [3e-06, 0.1, 10000, {b: 1.50}]\nc: '5'\nd: yes\ne: ~\n7: x\n").unwrap();
        let number = |text: &str| Node::Number(text.into());
        let inner = Node::Map(vec![("b".into(), number("1.50"))]);
        assert_eq!(node.get("a"), Some(&Node::List(vec![number("3e-06"), number("0.1"), number("10000"), inner])));
        assert_eq!(node.get("c"), Some(&Node::Text("5".into())));
        assert_eq!((node.get("d"), node.get("e")), (Some(&Node::Text("yes".into())), Some(&Node::Null)));
        assert_eq!(node.get("7"), Some(&Node::Text("x".into())));
    }

    #[test]
    fn anchors_and_merges_are_followed() {
        let text = "base: &b {rpm: 1.0, tpm: 2}\nrow: {<<: *b, tpm: 3}\nsame: *b\nlist: [*b, {<<: [*b]}]\n";
        let node = Node::read(text).unwrap();
        let entry = |map: &str, key: &str| node.get(map).and_then(|m| m.get(key)).cloned();
        assert_eq!(entry("row", "rpm"), Some(Node::Number("1.0".into())));
        assert_eq!(entry("row", "tpm"), Some(Node::Number("3".into())));
        assert_eq!(node.get("same"), node.get("base"));
        assert!(node.get("row").unwrap().get("<<").is_none());
    }

    #[test]
    fn a_broken_document_says_where() {
        assert!(Node::read("a: [1\nb: 2\n").unwrap_err().to_string().contains("line"));
    }
}
