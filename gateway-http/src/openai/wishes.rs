//! What a body says to the gateway itself: tags, fallbacks, and whether what a provider lacks may be dropped.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    Invalid,
    members::{Members, edited, string, text},
};

/// The members that are for the gateway alone.
const MEMBERS: [&str; 4] = ["tags", "fallbacks", "drop_params", LITELLMS];

/// A `metadata` for the gateway alone: LiteLLM's name for it where the API has one of its own.
const LITELLMS: &str = "litellm_metadata";

/// Fields of a form that are tags.
const TAGS: [&str; 6] =
    ["tags", "tags[]", "metadata[tags]", "metadata[tags][]", "litellm_metadata[tags]", "litellm_metadata[tags][]"];

/// What was said to the gateway.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Aside {
    pub(crate) tags: Vec<String>,
    pub(crate) fallbacks: Vec<String>,
    pub(crate) drop_params: Option<bool>,
}

impl Aside {
    /// Takes it.
    pub(crate) fn take(m: &mut Members<'_>) -> Result<Self, Invalid> {
        let tags = tags_by_place(m)?.into_iter().flat_map(|(_, tags)| tags).collect();
        let fallbacks = match m.raw("fallbacks") {
            Some(list) => {
                serde_json::from_str(list).map_err(|_| Invalid::at("fallbacks", "must be a list of names of models"))?
            }
            None => Vec::new(),
        };
        Ok(Self { tags, fallbacks, drop_params: m.take("drop_params")? })
    }
}

/// Cuts it off a body in a dialect that has no such members, `metadata` included: its services refuse what they do not know.
pub(crate) fn cut(body: Bytes) -> Result<(Bytes, Aside), Invalid> {
    if !may_have_some(&body) {
        return Ok((body, Aside::default()));
    }
    let (left, aside) = cut_off(text(&body)?)?;
    Ok((left.into_owned().into(), aside))
}

/// The same of a body that was read as text.
pub(crate) fn cut_off(json: &str) -> Result<(Cow<'_, str>, Aside), Invalid> {
    if !may_have_some(json.as_bytes()) {
        return Ok((Cow::Borrowed(json), Aside::default()));
    }
    let mut m = Members::read(json, "")?;
    let metadata = m.peek("metadata").map(without_tags).transpose()?;
    let aside = Aside::take(&mut m)?;
    let mut edits: Vec<_> = MEMBERS.map(|name| (name, None)).into();
    if let Some(left) = &metadata {
        edits.push(("metadata", left.as_deref()));
    }
    Ok((Cow::Owned(edited(json, "", &edits)?), aside))
}

/// Members that are left of a request, without the tags in their `metadata`: providers take strings there, or have no such member.
pub(crate) fn untagged(members: String) -> Result<String, Invalid> {
    if !may_have_some(members.as_bytes()) {
        return Ok(members);
    }
    let m = Members::read(&members, "")?;
    let Some(metadata) = m.peek("metadata") else { return Ok(members) };
    let metadata = without_tags(metadata)?;
    let left = edited(&members, "", &[("metadata", metadata.as_deref())])?;
    Ok(if left == "{}" { String::new() } else { left })
}

/// A `metadata` without its tags; `None`: nothing is left.
fn without_tags(metadata: &str) -> Result<Option<String>, Invalid> {
    let Some(object) = object_in(metadata) else { return Ok(Some(metadata.to_owned())) };
    let left = edited(&object, "metadata", &[("tags", None)])?;
    let is_text = matches!(object, Cow::Owned(_));
    let left = Some(left).filter(|left| left != "{}");
    Ok(left.map(|left| if is_text { serde_json::to_string(&left).unwrap_or_default() } else { left }))
}

/// A `metadata` that is an object, or a string with the text of one, which LiteLLM reads too.
fn object_in(metadata: &str) -> Option<Cow<'_, str>> {
    let object = string(metadata).map_or(Cow::Borrowed(metadata), Cow::Owned);
    Some(object).filter(|object| object.trim_start().starts_with('{'))
}

/// Whether it is worth reading a body for them: most have none, and may be long.
fn may_have_some(body: &[u8]) -> bool {
    // A name may be written with escapes.
    MEMBERS.into_iter().chain(["\\u00"]).any(|name| memchr::memmem::find(body, name.as_bytes()).is_some())
}

/// The tags in a `metadata`, whatever its name.
fn tags_of_metadata(name: &str, json: &str) -> Result<Vec<String>, Invalid> {
    match object_in(json) {
        Some(object) => take_tags(&mut Members::read(&object, name)?),
        None => Ok(Vec::new()),
    }
}

/// Takes a body's tags, with the places where they stand. Those within `metadata` are read there: some dialects have such a member.
pub(crate) fn tags_by_place(m: &mut Members<'_>) -> Result<[(&'static str, Vec<String>); 3], Invalid> {
    let metadata = match m.peek("metadata") {
        Some(metadata) => tags_of_metadata("metadata", metadata)?,
        None => Vec::new(),
    };
    // LiteLLM's clients write them beside as well.
    Ok([("metadata.tags", metadata), ("litellm_metadata.tags", take_litellms(m)?), ("tags", take_tags(m)?)])
}

/// Takes LiteLLM's own `metadata`, and the tags in it.
pub(crate) fn take_litellms(m: &mut Members<'_>) -> Result<Vec<String>, Invalid> {
    match m.raw(LITELLMS) {
        Some(metadata) => tags_of_metadata(LITELLMS, metadata),
        None => Ok(Vec::new()),
    }
}

/// The tags that a field of a form names.
pub(crate) fn tags_of_field(name: &str, value: &str) -> Result<Vec<String>, Invalid> {
    match name {
        "metadata" | LITELLMS => tags_of_metadata(name, value.trim_start()),
        _ if TAGS.contains(&name) => tags_of_text(name, value),
        _ => Ok(Vec::new()),
    }
}

/// What a provider gets of a field of a form: no tags. `None`: nothing.
pub(crate) fn untagged_field(name: &str, value: String) -> Result<Option<String>, Invalid> {
    match name {
        "metadata" if may_have_some(value.as_bytes()) => without_tags(value.trim_start()),
        _ if TAGS.contains(&name) || name.starts_with(LITELLMS) => Ok(None),
        _ => Ok(Some(value)),
    }
}

/// Takes an object's tags: a list, or a string with one or with commas. What is neither is refused: without its tags a call would go anywhere.
pub(crate) fn take_tags(m: &mut Members<'_>) -> Result<Vec<String>, Invalid> {
    let Some(json) = m.raw("tags") else { return Ok(Vec::new()) };
    if let Some(text) = string(json) {
        return tags_of_text(&m.path("tags"), &text);
    }
    list(&m.path("tags"), json)
}

/// Tags that are written as text: a list in JSON, or names with commas.
fn tags_of_text(at: &str, text: &str) -> Result<Vec<String>, Invalid> {
    match text.trim() {
        json if json.starts_with('[') => list(at, json),
        text => Ok(names(text)),
    }
}

fn list(at: &str, json: &str) -> Result<Vec<String>, Invalid> {
    serde_json::from_str(json).map_err(|_| Invalid::at(at, "must be a list of strings, or a string with commas"))
}

/// Names with commas between them.
pub(crate) fn names(text: &str) -> Vec<String> {
    text.split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn cuts(body: &str, left: &str) -> Aside {
        let (body, aside) = cut(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        assert_eq!(std::str::from_utf8(&body), Ok(left));
        aside
    }

    #[test]
    fn what_is_for_the_gateway_is_cut_off_and_heeded() {
        let aside = cuts(
            r#"{"model":"m","tags":"a, b","metadata":{"tags":["c"],"job":1},"fallbacks":["n"],"drop_params":true}"#,
            r#"{"model":"m","metadata":{"job":1}}"#,
        );
        assert_eq!((aside.tags, aside.fallbacks), (vec!["c".into(), "a".into(), "b".into()], vec!["n".into()]));
        assert_eq!(aside.drop_params, Some(true));
        let aside = cuts(r#"{"m\u0065tadata":{"t\u0061gs":["c"]},"model":"m"}"#, r#"{"model":"m"}"#);
        assert_eq!(aside.tags, ["c"]);
    }

    #[test]
    fn a_list_that_is_written_as_text_is_a_list() {
        for body in [r#"{"tags":"[\"pii\", \"eu\"]"}"#, r#"{"metadata":{"tags":" [\"pii\",\"eu\"]"}}"#] {
            assert_eq!(cuts(body, "{}").tags, ["pii", "eu"], "{body}");
        }
        for name in ["tags", "tags[]"] {
            assert_eq!(tags_of_field(name, r#"["pii","eu"]"#).unwrap(), ["pii", "eu"]);
            assert_eq!(tags_of_field(name, "pii, [eu]").unwrap(), ["pii", "[eu]"]);
            assert_eq!(tags_of_field(name, r#"["pii",7]"#).unwrap_err().violations[0].0, name);
        }
    }

    #[test]
    fn a_metadata_that_is_written_as_text_keeps_what_else_it_says() {
        let said = r#"{"metadata":"{\"tags\":[\"pii\"],\"job\":\"1\"}"}"#;
        let aside = cuts(said, r#"{"metadata":"{\"job\":\"1\"}"}"#);
        assert_eq!(aside.tags, ["pii"]);
        assert_eq!(cuts(r#"{"model":"m","metadata":"{\"tags\":[\"pii\"]}"}"#, r#"{"model":"m"}"#).tags, ["pii"]);
        assert_eq!(untagged(r#"{"metadata":"{\"tags\":[\"pii\"]}"}"#.into()).unwrap(), "");
        assert_eq!(cuts(r#"{"metadata":"tags"}"#, r#"{"metadata":"tags"}"#), Aside::default());
    }

    #[test]
    fn tags_that_are_none_are_refused_by_their_place() {
        let field = |body: &'static str| cut(Bytes::from_static(body.as_bytes())).unwrap_err().violations[0].0.clone();
        for tags in [r#"{"tags":["pii",7]}"#, r#"{"tags":[null]}"#, r#"{"tags":{}}"#, r#"{"tags":7}"#] {
            assert_eq!(field(tags), "tags", "{tags}");
        }
        assert_eq!(field(r#"{"tags":"[\"pii\",7]"}"#), "tags");
        assert_eq!(field(r#"{"metadata":{"tags":["pii",null]}}"#), "metadata.tags");
        for none in [r#"{"tags":null}"#, r#"{"metadata":{"tags":null}}"#, r#"{"metadata":"tags"}"#] {
            assert_eq!(cut(Bytes::from_static(none.as_bytes())).unwrap().1, Aside::default(), "{none}");
        }
    }

    #[test]
    fn tags_are_no_metadata_of_the_provider() {
        let left = |members: &str| untagged(members.into()).unwrap();
        assert_eq!(left(r#"{"metadata":{"tags":["a"]}}"#), "");
        assert_eq!(left(r#"{"metadata":{"t\u0061gs":["a"]}}"#), "");
        assert_eq!(
            left(r#"{"store":true,"metadata":{"tags":["a"],"job":"1"}}"#),
            r#"{"store":true,"metadata":{"job":"1"}}"#
        );
        assert_eq!(left(r#"{"metadata":{"job":"tags"}}"#), r#"{"metadata":{"job":"tags"}}"#);
    }

    #[test]
    fn litellms_own_metadata_is_read_and_cut_whole() {
        for metadata in [r#"{"tags":["pii"],"job":1}"#, r#""{\"tags\":[\"pii\"]}""#] {
            let body = format!(r#"{{"model":"m","litellm_metadata":{metadata}}}"#);
            assert_eq!(cuts(&body, r#"{"model":"m"}"#).tags, ["pii"], "{metadata}");
        }
        assert_eq!(cuts(r#"{"litellm_metadata":{"job":1}}"#, "{}"), Aside::default());
        let wrong = cut(Bytes::from_static(br#"{"litellm_metadata":{"tags":7}}"#)).unwrap_err();
        assert_eq!(wrong.violations[0].0, "litellm_metadata.tags");
        for (name, value) in [("litellm_metadata", r#"{"tags":["pii"],"job":1}"#), ("litellm_metadata[tags][]", "pii")]
        {
            assert_eq!(tags_of_field(name, value).unwrap(), ["pii"], "{name}");
            assert_eq!(untagged_field(name, value.into()).unwrap(), None, "{name}");
        }
        assert_eq!(untagged_field("litellm_metadata[job]", "1".into()).unwrap(), None);
    }

    #[test]
    fn a_field_of_a_form_goes_on_without_tags() {
        let left = |name: &str, value: &str| untagged_field(name, value.into()).unwrap();
        assert_eq!(left("metadata", r#" {"tags":["pii"],"job":"1"}"#).as_deref(), Some(r#"{"job":"1"}"#));
        assert_eq!(left("metadata", r#"{"tags":["pii"]}"#), None);
        assert_eq!(left("tags[]", "pii"), None);
        for (name, value) in [("metadata", r#"{ "job": "1" }"#), ("metadata", "tags"), ("prompt", r#"{"tags":[]}"#)] {
            assert_eq!(left(name, value).as_deref(), Some(value));
        }
    }

    #[test]
    fn a_body_without_it_stays_as_it_is() {
        for body in [r#"{ "model": "m" }"#, r#"{"input":"tagged"}"#, "no json"] {
            assert_eq!(cuts(body, body), Aside::default());
        }
    }
}
