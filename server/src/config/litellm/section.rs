//! A map of the file, read setting by setting: what nobody asked for is noted at the end.

use std::cell::RefCell;

use super::{
    decimal::Decimal,
    environment::Environment,
    known,
    node::Node,
    report::{Report, Verdict},
};

/// What all sections share.
pub(super) struct Context<'a> {
    pub(super) environment: Environment<'a>,
    pub(super) report: RefCell<Report>,
}

impl Context<'_> {
    pub(super) fn note(&self, path: impl Into<String>, verdict: Verdict) {
        self.report.borrow_mut().note(path.into(), verdict);
    }
}

/// A map of the file.
pub(super) struct Section<'a> {
    pub(super) context: &'a Context<'a>,
    path: String,
    entries: &'a [(String, Node)],
    asked: RefCell<Vec<String>>,
}

impl<'a> Section<'a> {
    /// Anything but a map is noted, and read as an empty one.
    pub(super) fn new(context: &'a Context<'a>, path: impl Into<String>, node: Option<&'a Node>) -> Self {
        let path = path.into();
        let entries: &[_] = match node {
            Some(Node::Map(entries)) => entries,
            None | Some(Node::Null) => &[],
            Some(other) => {
                context.note(&path, Verdict::Ignored(format!("must be a map, not {}", other.what())));
                &[]
            }
        };
        Self { context, path, entries, asked: RefCell::new(Vec::new()) }
    }

    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A part of it, which whoever asks gives an account of. `null` is as good as absent.
    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        let (name, node) = self.entries.iter().find(|(name, _)| name == key)?;
        self.asked.borrow_mut().push(name.clone());
        (*node != Node::Null).then_some(node)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, node)| name == key && *node != Node::Null)
    }

    pub(super) fn honoured(&self, key: &str) {
        self.context.note(self.path(key), Verdict::Honoured);
    }

    pub(super) fn differently(&self, key: &str, how: impl Into<String>) {
        self.context.note(self.path(key), Verdict::Differently(how.into()));
    }

    pub(super) fn ignored(&self, key: &str, why: impl Into<String>) {
        self.context.note(self.path(key), Verdict::Ignored(why.into()));
    }

    /// Text as it is written, `os.environ/` and all.
    pub(super) fn written(&self, key: &str) -> Option<String> {
        let text = match self.node(key)? {
            Node::Text(text) | Node::Number(text) => text.clone(),
            Node::Flag(flag) => flag.to_string(),
            other => {
                self.ignored(key, format!("must be text, not {}", other.what()));
                return None;
            }
        };
        self.honoured(key);
        Some(text).filter(|text| !text.is_empty())
    }

    /// The text of a setting that has some. To look is not yet to use it: whoever does asks again.
    pub(super) fn peek(&self, key: &str) -> Option<String> {
        let (_, node) = self.entries.iter().find(|(name, _)| name == key)?;
        let (Node::Text(written) | Node::Number(written)) = node else { return None };
        self.context.environment.text(written).ok().filter(|text| !text.is_empty())
    }

    /// Text, from the environment where it says so.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        match self.context.environment.text(&self.written(key)?) {
            Ok(text) => Some(text),
            Err(name) => {
                self.ignored(key, format!("the environment variable {name} is not set"));
                None
            }
        }
    }

    /// A secret, as our own reference.
    pub(super) fn secret(&self, key: &str) -> Option<String> {
        Some(self.context.environment.reference(&self.written(key)?))
    }

    /// True or false, in any spelling.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.text(key)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => {
                self.ignored(key, "must be true or false");
                None
            }
        }
    }

    /// A decimal that is not negative.
    pub(super) fn decimal(&self, key: &str) -> Option<Decimal> {
        let read = Decimal::parse(&self.text(key)?);
        if read.is_none() {
            self.ignored(key, "must be a number, not negative");
        }
        read
    }

    /// An integer of at least `least`.
    pub(super) fn count(&self, key: &str, least: u64) -> Option<u64> {
        let read = self.decimal(key)?.whole().filter(|n| *n >= least && i64::try_from(*n).is_ok());
        if read.is_none() {
            self.ignored(key, format!("must be a whole number of at least {least}"));
        }
        read
    }

    /// A length of time, in milliseconds: seconds as a number, or `30s`, `5m`, `30d`.
    pub(super) fn milliseconds(&self, key: &str) -> Option<u64> {
        let read = milliseconds(&self.text(key)?);
        if read.is_none() {
            self.ignored(key, "must be seconds, or a length of time such as 30s, 5m or 30d");
        }
        read
    }

    /// A list of texts; one text is a list of one.
    pub(super) fn texts(&self, key: &str) -> Option<Vec<String>> {
        let items = match self.node(key)? {
            Node::List(items) => items.iter().collect(),
            one => vec![one],
        };
        self.honoured(key);
        let mut texts = Vec::new();
        for item in items {
            match item {
                Node::Text(text) | Node::Number(text) => texts.push(text.clone()),
                other => self.ignored(key, format!("must be a list of texts; one entry is {}", other.what())),
            }
        }
        Some(texts)
    }

    /// A map below it.
    pub(super) fn section(&self, key: &str) -> Section<'a> {
        Section::new(self.context, self.path(key), self.node(key))
    }

    /// Notes what nobody asked for.
    pub(super) fn finish(self, kind: known::Kind) {
        let asked = self.asked.borrow();
        for (name, node) in self.entries.iter().filter(|(name, _)| !asked.contains(name)) {
            if *node != Node::Null {
                self.context.note(self.path(name), known::verdict(kind, name));
            }
        }
    }
}

/// Seconds as a number, or a length of time with its unit.
fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let unit: u64 = match text[digits..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        "mo" => 2_592_000_000,
        _ => return Decimal::parse(text)?.shifted(3).ceiling(),
    };
    // A fraction of a unit is counted in milliseconds, which all units are multiples of.
    let thousandths = Decimal::parse(&text[..digits])?.shifted(3).ceiling()?;
    thousandths.checked_mul(unit).map(|n| n.div_ceil(1_000))
}

/// A length of time as the native file writes it.
pub(super) fn span(milliseconds: u64) -> String {
    match milliseconds {
        ms if ms % 86_400_000 == 0 && ms > 0 => format!("{}d", ms / 86_400_000),
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_seconds_or_have_a_unit() {
        for (text, ms) in [
            ("30", 30_000),
            ("0.5", 500),
            ("2s", 2_000),
            ("5m", 300_000),
            ("30d", 2_592_000_000),
            ("1mo", 2_592_000_000),
            ("250ms", 250),
            ("1.5h", 5_400_000),
            ("1e2", 100_000),
        ] {
            assert_eq!(milliseconds(text), Some(ms), "{text}");
        }
        for bad in ["", "s", "-1", "5x", "soon"] {
            assert_eq!(milliseconds(bad), None, "{bad}");
        }
        assert_eq!((span(500), span(30_000), span(86_400_000)), ("500ms".into(), "30s".into(), "1d".into()));
    }
}
