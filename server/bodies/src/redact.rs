//! Taking out of a body what looks like a person's data or a secret. It works by shape: it lowers a risk, it proves nothing.

use std::borrow::Cow;

use regex::{Captures, Regex};
use serde_json::Value;

/// What is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Keys and tokens: of model providers and of this gateway, of AWS, GitHub, Google and Slack, JSON Web Tokens, private keys in PEM, and
    /// whatever follows `Bearer`.
    Secret,
    /// E-mail addresses.
    Email,
    /// Numbers of payment cards: 13 to 19 digits whose check digit holds.
    Card,
    /// Telephone numbers: international with `+`, or ten digits in groups.
    Phone,
}

impl Pattern {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Self; 4] = [Self::Secret, Self::Email, Self::Card, Self::Phone];

    /// What stands in its place, in brackets.
    fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Email => "email",
            Self::Card => "card",
            Self::Phone => "phone",
        }
    }

    fn shape(self) -> &'static str {
        match self {
            Self::Secret => {
                r"(?x)
                \b(?:sk|tg|rk|pk)-[A-Za-z0-9_-]{16,}
                | \bAKIA[0-9A-Z]{16}\b | \bASIA[0-9A-Z]{16}\b
                | \bgh[pousr]_[A-Za-z0-9]{20,} | \bgithub_pat_[A-Za-z0-9_]{20,}
                | \bxox[abeprs]-[A-Za-z0-9-]{10,}
                | \bAIza[0-9A-Za-z_-]{35}
                | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}
                | -----BEGIN\ [A-Z\ ]*PRIVATE\ KEY-----(?s:.*?)-----END\ [A-Z\ ]*PRIVATE\ KEY-----
                | (?i:\bbearer\s+)[A-Za-z0-9._~+/=-]{16,}"
            }
            Self::Email => r"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b",
            Self::Card => r"\b[0-9](?:[ -]?[0-9]){12,18}\b",
            Self::Phone => r"\+[0-9](?:[ ().-]{0,2}[0-9]){6,14}\b|\(?\b[0-9]{3}\)?[ .-][0-9]{3}[ .-][0-9]{4}\b",
        }
    }
}

/// A pattern of the operator's own that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no regular expression: {why}")]
pub struct BadPattern {
    /// As it was given.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

/// Takes out of bodies what its patterns find.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    patterns: Vec<(Pattern, Regex)>,
    own: Vec<Regex>,
}

impl Redactor {
    /// Of these patterns, and of the operator's own regular expressions.
    pub fn new(patterns: &[Pattern], own: &[String]) -> Result<Self, BadPattern> {
        let compile = |shape: &str| {
            Regex::new(shape).map_err(|error| BadPattern { pattern: shape.to_owned(), why: error.to_string() })
        };
        let wanted = Pattern::ALL.into_iter().filter(|pattern| patterns.contains(pattern));
        Ok(Self {
            patterns: wanted.map(|pattern| Ok((pattern, compile(pattern.shape())?))).collect::<Result<_, _>>()?,
            own: own.iter().map(|shape| compile(shape)).collect::<Result<_, _>>()?,
        })
    }

    /// The text, with the name of what was found in the place of each finding: `[email]`; of the operator's own: `[redacted]`.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for (pattern, regex) in &self.patterns {
            let named = format!("[{}]", pattern.name());
            let replaced = regex.replace_all(&text, |found: &Captures<'_>| match pattern {
                Pattern::Card if !is_card(&found[0]) => found[0].to_owned(),
                _ => named.clone(),
            });
            if let Cow::Owned(replaced) = replaced {
                text = Cow::Owned(replaced);
            }
        }
        for regex in &self.own {
            if let Cow::Owned(replaced) = regex.replace_all(&text, "[redacted]") {
                text = Cow::Owned(replaced);
            }
        }
        text
    }

    /// JSON, with its texts and numbers looked through one by one; the names of its members stay. Whatever else comes is looked through as
    /// one text.
    pub fn body(&self, body: &[u8]) -> Vec<u8> {
        match serde_json::from_slice::<Value>(body) {
            Ok(mut value) => {
                self.value(&mut value);
                value.to_string().into_bytes()
            }
            Err(_) => self.text(&String::from_utf8_lossy(body)).into_owned().into_bytes(),
        }
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(redacted) = self.text(text) {
                    *text = redacted;
                }
            }
            Value::Number(number) => {
                let text = number.to_string();
                if let Cow::Owned(redacted) = self.text(&text)
                    && redacted != text
                {
                    *value = Value::String(redacted);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(members) => members.values_mut().for_each(|member| self.value(member)),
            Value::Null | Value::Bool(_) => {}
        }
    }
}

/// Whether the check digit holds, as Luhn has it.
fn is_card(text: &str) -> bool {
    let digits = text.bytes().rev().filter(u8::is_ascii_digit).map(|byte| u32::from(byte - b'0'));
    let sum: u32 = digits
        .enumerate()
        .map(|(at, digit)| match at % 2 {
            0 => digit,
            _ if digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn all() -> Redactor {
        Redactor::new(&Pattern::ALL, &["(?i)project \\w+".to_owned()]).unwrap()
    }

    #[test]
    fn what_has_the_shape_of_something_private_is_named_in_its_place() {
        for (text, redacted) in [
            ("write to ann.lee+x@mail.example.org now", "write to [email] now"),
            ("card 4111 1111 1111 1111, thanks", "card [card], thanks"),
            ("4111-1111-1111-1111", "[card]"),
            ("call +44 20 7946 0958", "call [phone]"),
            ("call (555) 010-4477", "call [phone]"),
            ("my key is sk-abcdefghijklmnop1234", "my key is [secret]"),
            ("AKIAABCDEFGHIJKLMNOP", "[secret]"),
            ("ghp_abcdefghijklmnopqrst0123", "[secret]"),
            ("authorization: Bearer abcdefghijklmnop1234", "authorization: [secret]"),
            ("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2lnbmF0dXJl", "[secret]"),
            ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "[secret]"),
            ("about Project Falcon", "about [redacted]"),
        ] {
            assert_eq!(all().text(text), redacted, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for text in ["4111 1111 1111 1112", "order 12345678", "at 10:15, 2 @ 3", "sk-short", "1.000.000,00"] {
            assert_eq!(all().text(text), text);
        }
    }

    #[test]
    fn json_stays_json_and_escapes_hide_nothing() {
        let body = br#"{"a":"x\nann\u0040mail.example","n":4111111111111111,"list":[1.5,true,null,"ok"]}"#;
        let redacted = all().body(body);
        assert_eq!(
            String::from_utf8(redacted).unwrap(),
            r#"{"a":"x\n[email]","n":"[card]","list":[1.5,true,null,"ok"]}"#
        );
    }

    #[test]
    fn what_is_no_text_is_looked_through_all_the_same() {
        assert_eq!(all().body(b"\xffann@mail.example"), "\u{fffd}[email]".as_bytes());
    }

    #[test]
    fn nothing_is_taken_out_that_was_not_asked_for() {
        let cards = Redactor::new(&[Pattern::Card], &[]).unwrap();
        assert_eq!(cards.text("ann@mail.example 4111111111111111"), "ann@mail.example [card]");
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        let error = Redactor::new(&[], &["(".to_owned()]).unwrap_err();
        assert_eq!(error.pattern, "(");
    }
}
