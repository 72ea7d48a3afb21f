//! Names with `*` in them: one entry of the configuration stands for all models that it matches.
//!
//! A group is made of it for each name that is called, with the state of its own: a model that its provider does not know must not have
//! all others left alone. They are kept as long as there are not too many, for callers may make names up.

use std::{fmt, sync::Arc};

use moka::sync::Cache;

use crate::ModelGroup;

/// The most groups that are kept.
const KEPT: u64 = 1_000;

/// What each `*` of `pattern` stands for in `name`, the first as short as possible; `None`: it does not match.
pub fn captures<'a>(pattern: &str, name: &'a str) -> Option<Vec<&'a str>> {
    let mut words = pattern.split('*');
    let mut rest = name.strip_prefix(words.next()?)?;
    let mut found = Vec::new();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let at = match words.peek() {
            Some(_) => rest.find(word)?,
            None => rest.len().checked_sub(word.len()).filter(|at| rest.get(*at..) == Some(word))?,
        };
        found.push(&rest[..at]);
        rest = &rest[at + word.len()..];
    }
    rest.is_empty().then_some(found)
}

/// Whether `pattern` has `name` among what it stands for; without `*` only itself.
pub fn matches(pattern: &str, name: &str) -> bool {
    captures(pattern, name).is_some()
}

/// `text` with each `*` replaced by what the same one of the pattern stands for.
pub fn filled(text: &str, captured: &[&str]) -> String {
    let mut words = text.split('*');
    let mut full = words.next().unwrap_or_default().to_owned();
    for (at, word) in words.enumerate() {
        full.push_str(captured.get(at).copied().unwrap_or_default());
        full.push_str(word);
    }
    full
}

/// Makes the group of a name, given what each `*` stands for in it.
pub type Make = Box<dyn Fn(&str, &[&str]) -> Option<ModelGroup> + Send + Sync>;

/// All names with `*`, the most specific first.
pub struct Patterns {
    all: Vec<(String, Make)>,
    made: Cache<String, Arc<ModelGroup>>,
}

impl Patterns {
    /// Of several that match, the one with the most other characters counts, then the one with the fewest `*`.
    pub fn new(mut all: Vec<(String, Make)>) -> Self {
        let rank = |pattern: &str| {
            let stars = pattern.matches('*').count();
            (std::cmp::Reverse(pattern.len() - stars), stars, pattern.to_owned())
        };
        all.sort_by_key(|(pattern, _)| rank(pattern));
        Self { all, made: Cache::new(KEPT) }
    }

    /// Whether one of them has this name.
    pub fn has(&self, name: &str) -> bool {
        self.all.iter().any(|(pattern, _)| matches(pattern, name))
    }

    /// The one that stands for this name.
    pub fn of(&self, name: &str) -> Option<&str> {
        self.all.iter().map(|(pattern, _)| pattern.as_str()).find(|pattern| matches(pattern, name))
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<Arc<ModelGroup>> {
        if let Some(made) = self.made.get(name) {
            return Some(made);
        }
        let (pattern, make) = self.all.iter().find(|(pattern, _)| matches(pattern, name))?;
        let made = Arc::new(make(name, &captures(pattern, name)?)?);
        // Two calls at once end up with the same one.
        Some(self.made.get_with_by_ref(name, || made))
    }
}

impl Default for Patterns {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter().map(|(pattern, _)| pattern)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_says_for_what() {
        assert_eq!(captures("openai/*", "openai/gpt-4o").unwrap(), ["gpt-4o"]);
        assert_eq!(captures("*", "").unwrap(), [""]);
        assert_eq!(captures("bedrock/*claude*", "bedrock/eu.claude-x").unwrap(), ["eu.", "-x"]);
        assert_eq!(captures("a*b*b", "a1b2b").unwrap(), ["1", "2"]);
        assert_eq!(captures("gpt-4", "gpt-4").unwrap(), [""; 0]);
        for (pattern, name) in [("openai/*", "azure/x"), ("gpt-4", "gpt-4o"), ("*-mini", "mini"), ("ab*ba", "aba")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        // Bytes of a character are not cut apart.
        assert!(!matches("*\u{a9}", "\u{e9}"));
    }

    #[test]
    fn what_stars_stand_for_goes_where_stars_are() {
        assert_eq!(filled("*", &["gpt-4o"]), "gpt-4o");
        assert_eq!(filled("eu.*-v1", &["claude"]), "eu.claude-v1");
        assert_eq!(filled("fixed", &["x"]), "fixed");
        assert_eq!(filled("*-*", &["a"]), "a-");
    }

    #[test]
    fn the_most_specific_name_wins() {
        let made = |name: &'static str| -> Make {
            Box::new(move |called, _| (called != "openai/none").then(|| ModelGroup { name: name.into(), ..group() }))
        };
        let all = ["*", "openai/*", "openai/gpt-*", "*/gpt-4*"];
        let patterns = Patterns::new(all.map(|p| (p.to_owned(), made(p))).into());
        let found = |name: &str| patterns.group(name).map(|group| group.name.clone());
        assert_eq!(found("openai/gpt-4o").as_deref(), Some("openai/gpt-*"));
        assert_eq!(found("openai/o3").as_deref(), Some("openai/*"));
        assert_eq!(found("azure/gpt-4o").as_deref(), Some("*/gpt-4*"));
        assert_eq!(found("anything").as_deref(), Some("*"));
        assert_eq!(found("openai/none"), None);
        assert!(Arc::ptr_eq(&patterns.group("x").unwrap(), &patterns.group("x").unwrap()), "it keeps its state");
    }

    fn group() -> ModelGroup {
        ModelGroup {
            name: String::new(),
            deployments: Vec::new(),
            strategy: crate::Strategy::Shuffle,
            fallbacks: Vec::new(),
            context_window_fallbacks: Vec::new(),
            content_policy_fallbacks: Vec::new(),
            retry: crate::RetryPolicy::default(),
            limits: None,
            sticky: None,
            mirror: None,
            on_midstream_failure: tollgate_proto::v1::MidstreamPolicy::Fail,
            budget: Default::default(),
        }
    }
}
