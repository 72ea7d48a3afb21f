//! JSON as text: edits that leave every other byte alone, and objects written member by member.

use std::ops::Range;

use serde::Serialize;

/// Not one JSON object, or a member that is to be edited stands there twice.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotEditable(String);

/// Members of a body that are for the gateway alone.
pub const WISHES: [&str; 4] = ["fallbacks", "drop_params", "tags", "litellm_metadata"];

struct Member {
    key: Range<usize>,
    value: Range<usize>,
}

/// Whether an object has a member of this name.
pub fn holds(body: &[u8], name: &str) -> bool {
    members(body).is_some_and(|(members, _)| members.iter().any(|member| is(body, member, name)))
}

fn is(body: &[u8], member: &Member, name: &str) -> bool {
    let key = &body[member.key.clone()];
    match memchr::memchr(b'\\', key) {
        None => &key[1..key.len() - 1] == name.as_bytes(),
        Some(_) => serde_json::from_slice::<String>(key).is_ok_and(|k| k == name),
    }
}

/// `metadata` of a body without its tags, which are for the gateway, as an edit: `Some(None)` when nothing is left, `None` when it has no tags.
pub fn untagged_metadata(body: &[u8]) -> Result<Option<Option<String>>, NotEditable> {
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        metadata: Option<&'a serde_json::value::RawValue>,
    }
    // A name may be written with escapes.
    if ["metadata", "\\u00"].iter().all(|part| memchr::memmem::find(body, part.as_bytes()).is_none()) {
        return Ok(None);
    }
    let body: Body<'_> = serde_json::from_slice(body).map_err(|error| NotEditable(error.to_string()))?;
    let Some(metadata) = body.metadata.map(serde_json::value::RawValue::get) else { return Ok(None) };
    // A string with the text of an object is read as one.
    let text: Option<String> = serde_json::from_str(metadata).ok();
    let object = text.as_deref().unwrap_or(metadata);
    if !holds(object.as_bytes(), "tags") {
        return Ok(None);
    }
    let left = edit(object.as_bytes(), &[("tags", None)])?;
    let left = Some(String::from_utf8_lossy(&left).into_owned()).filter(|left| left != "{}");
    Ok(Some(left.map(|left| match text {
        Some(_) => serde_json::to_string(&left).unwrap_or_default(),
        None => left,
    })))
}

/// Edits top-level members of an object: `Some` replaces or adds, `None` removes. All else stays as it was written.
pub fn edit(body: &[u8], edits: &[(&str, Option<String>)]) -> Result<Vec<u8>, NotEditable> {
    let (members, close) = members(body).ok_or_else(|| NotEditable("the body is not one JSON object".into()))?;
    // What becomes of each member: `None` stays, `Some(None)` goes, `Some(Some(_))` is replaced.
    let mut fate: Vec<Option<Option<&str>>> = vec![None; members.len()];
    let mut added = Vec::new();
    for (name, new) in edits {
        let mut found = members.iter().enumerate().filter(|(_, m)| is(body, m, name));
        match (found.next(), new) {
            (Some((at, _)), new) => fate[at] = Some(new.as_deref()),
            (None, Some(new)) => added.push((*name, new)),
            (None, None) => {}
        }
        if found.next().is_some() {
            return Err(NotEditable(format!("the member {name:?} stands in the body twice")));
        }
    }
    let mut edited = Vec::with_capacity(body.len() + 64);
    // Up to the first member; then each member that stays, behind the separator that stood before it.
    let opening = members.first().map_or(close, |m| m.key.start);
    edited.extend_from_slice(&body[..opening]);
    let mut is_first = true;
    let mut before = opening;
    for (member, fate) in members.iter().zip(fate) {
        if fate != Some(None) {
            if !is_first {
                edited.extend_from_slice(&body[before..member.key.start]);
            }
            is_first = false;
            edited.extend_from_slice(&body[member.key.start..member.value.start]);
            match fate {
                Some(Some(new)) => edited.extend_from_slice(new.as_bytes()),
                _ => edited.extend_from_slice(&body[member.value.clone()]),
            }
        }
        before = member.value.end;
    }
    for (name, new) in added {
        if !is_first {
            edited.push(b',');
        }
        is_first = false;
        let key = serde_json::to_string(name).unwrap_or_default();
        edited.extend_from_slice(key.as_bytes());
        edited.push(b':');
        edited.extend_from_slice(new.as_bytes());
    }
    edited.extend_from_slice(&body[before.max(opening)..]);
    Ok(edited)
}

/// The members of the one object that `body` is, and where it closes.
fn members(body: &[u8]) -> Option<(Vec<Member>, usize)> {
    let mut members = Vec::with_capacity(24);
    let mut at = skip_space(body, 0);
    (*body.get(at)? == b'{').then_some(())?;
    at = skip_space(body, at + 1);
    if *body.get(at)? == b'}' {
        return Some((members, at));
    }
    loop {
        let key_end = string_end(body, at)?;
        let colon = skip_space(body, key_end);
        (*body.get(colon)? == b':').then_some(())?;
        let start = skip_space(body, colon + 1);
        let end = value_end(body, start)?;
        members.push(Member { key: at..key_end, value: start..end });
        at = skip_space(body, end);
        match *body.get(at)? {
            b',' => at = skip_space(body, at + 1),
            b'}' => return Some((members, at)),
            _ => return None,
        }
    }
}

fn skip_space(body: &[u8], mut at: usize) -> usize {
    while body.get(at).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

fn string_end(body: &[u8], start: usize) -> Option<usize> {
    (*body.get(start)? == b'"').then_some(())?;
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', body.get(at..)?)?;
        match body[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

fn value_end(body: &[u8], start: usize) -> Option<usize> {
    match *body.get(start)? {
        b'"' => string_end(body, start),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0usize, start);
            loop {
                match *body.get(at)? {
                    b'"' => {
                        at = string_end(body, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
        }
        _ => {
            let length =
                body[start..].iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'))?;
            (length > 0).then_some(start + length)
        }
    }
}

/// An object written member by member, in order.
#[derive(Default)]
pub struct Object(String);

impl Object {
    /// Adds a member.
    pub fn field(&mut self, key: &str, value: &(impl Serialize + ?Sized)) -> &mut Self {
        self.raw(key, &serde_json::to_string(value).unwrap_or_else(|_| "null".into()))
    }

    /// Adds a member where there is a value.
    pub fn maybe(&mut self, key: &str, value: Option<&(impl Serialize + ?Sized)>) -> &mut Self {
        match value {
            Some(value) => self.field(key, value),
            None => self,
        }
    }

    /// Adds a member that is JSON text already.
    pub fn raw(&mut self, key: &str, json: &str) -> &mut Self {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&serde_json::to_string(key).unwrap_or_default());
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    /// Adds the members of an object that is JSON text; empty text adds none.
    pub fn merge(&mut self, object: &str) -> &mut Self {
        let inner = object.trim().strip_prefix('{').and_then(|o| o.strip_suffix('}')).map_or("", str::trim);
        if !inner.is_empty() {
            self.0.push(if self.0.is_empty() { '{' } else { ',' });
            self.0.push_str(inner);
        }
        self
    }

    /// The object.
    pub fn finish(&self) -> String {
        if self.0.is_empty() { "{}".into() } else { format!("{}}}", self.0) }
    }
}

/// An array of JSON texts.
pub fn array(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(body: &str, edits: &[(&str, Option<&str>)]) -> String {
        let edits: Vec<_> = edits.iter().map(|(k, v)| (*k, v.map(str::to_owned))).collect();
        String::from_utf8(edit(body.as_bytes(), &edits).unwrap()).unwrap()
    }

    #[test]
    fn tags_are_no_metadata_however_their_names_are_written() {
        let left = |body: &str| untagged_metadata(body.as_bytes()).unwrap();
        assert_eq!(left(r#"{"metadata":{"tags":["a"],"job":"1"}}"#), Some(Some(r#"{"job":"1"}"#.into())));
        assert_eq!(left(r#"{"m\u0065tadata":{"t\u0061gs":["a"]}}"#), Some(None));
        assert_eq!(left(r#"{"input":"metadata \u00e9"}"#), None);
        assert_eq!(left(r#"{"metadata":"tags"}"#), None);
        let text = r#"{"metadata":"{\"tags\":[\"a\"],\"job\":\"1\"}"}"#;
        assert_eq!(left(text), Some(Some(r#""{\"job\":\"1\"}""#.into())));
    }

    #[test]
    fn what_is_not_edited_keeps_every_byte() {
        let body = "{ \"a\" : 1e-7 ,\n \"model\": \"x\", \"z\":{\"q\\\"}\":[1.0, {}]} }";
        assert_eq!(edited(body, &[("model", Some("\"y\""))]), body.replace("\"x\"", "\"y\""));
        assert_eq!(edited(body, &[]), body);
    }

    #[test]
    fn members_are_added_and_removed_wherever_they_stand() {
        let body = r#"{"a":1,"b":2,"c":3}"#;
        assert_eq!(edited(body, &[("a", None)]), r#"{"b":2,"c":3}"#);
        assert_eq!(edited(body, &[("c", None)]), r#"{"a":1,"b":2}"#);
        assert_eq!(edited(body, &[("b", None), ("d", Some("4"))]), r#"{"a":1,"c":3,"d":4}"#);
        assert_eq!(edited("{}", &[("d", Some("4"))]), r#"{"d":4}"#);
        assert_eq!(edited(r#"{"a":1}"#, &[("a", None), ("d", Some("4"))]), r#"{"d":4}"#);
        assert_eq!(edited(body, &[("a", None), ("b", None), ("c", None)]), "{}");
        assert_eq!(edited("{ \"a\":1 , \"b\":2 }", &[("a", None)]), "{ \"b\":2 }");
    }

    #[test]
    fn an_escaped_key_is_the_same_key_and_a_double_is_refused() {
        assert_eq!(edited(r#"{"mod\u0065l":1}"#, &[("model", Some("2"))]), r#"{"mod\u0065l":2}"#);
        assert!(edit(br#"{"model":1,"model":2}"#, &[("model", Some("3".into()))]).is_err());
        assert!(edit(b"[1]", &[]).is_err());
    }
}
