//! What became of each setting.

use std::{
    collections::HashMap,
    fmt::{self, Write},
};

/// What became of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does what it does there.
    Honoured,
    /// It does something like it: what is different.
    Differently(String),
    /// It does nothing: why, and what to do instead.
    Ignored(String),
}

/// A setting by its path, `model_list[0].litellm_params.rpm`, and what became of it. Never its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The path.
    pub path: String,
    /// What became of it.
    pub verdict: Verdict,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Honoured => write!(f, "{}: honoured", self.path),
            Verdict::Differently(how) => write!(f, "{}: honoured differently: {how}", self.path),
            Verdict::Ignored(why) => write!(f, "{}: not honoured: {why}", self.path),
        }
    }
}

/// What became of all settings of a file, in its order.
#[derive(Clone, Debug, Default)]
pub struct Report {
    notes: Vec<Note>,
    by_path: HashMap<String, usize>,
}

impl Report {
    /// What is said of a path later stands in place of what was said before, unless it is only that it is honoured.
    pub(super) fn note(&mut self, path: String, verdict: Verdict) {
        match self.by_path.get(&path) {
            Some(_) if verdict == Verdict::Honoured => {}
            Some(at) => self.notes[*at].verdict = verdict,
            None => {
                self.by_path.insert(path.clone(), self.notes.len());
                self.notes.push(Note { path, verdict });
            }
        }
    }

    /// Every setting.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Those that are in force as they stand.
    pub fn honoured(&self) -> usize {
        self.notes.iter().filter(|note| note.verdict == Verdict::Honoured).count()
    }

    /// Those that are not in force, or not as they stand.
    pub fn rest(&self) -> impl Iterator<Item = &Note> {
        self.notes.iter().filter(|note| note.verdict != Verdict::Honoured)
    }

    /// All of it for people: what is honoured, what is so differently, what is not, each with its reason.
    pub fn tell(&self) -> String {
        let mut text = format!("{} settings of LiteLLM's are honoured as they stand\n", self.honoured());
        let mut list = |head: &str, wanted: fn(&Verdict) -> Option<&String>| {
            let found: Vec<_> = self.notes.iter().filter_map(|n| Some((&n.path, wanted(&n.verdict)?))).collect();
            if !found.is_empty() {
                let _ = writeln!(text, "{} {head}:", found.len());
            }
            for (path, why) in found {
                let _ = writeln!(text, "  {path}: {why}");
            }
        };
        list("honoured differently", |verdict| match verdict {
            Verdict::Differently(how) => Some(how),
            _ => None,
        });
        list("not honoured", |verdict| match verdict {
            Verdict::Ignored(why) => Some(why),
            _ => None,
        });
        text
    }
}
