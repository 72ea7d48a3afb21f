//! `os.environ/NAME`, the file's own variables, and the variables that LiteLLM reads unasked.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use super::node::Node;

/// How a value says that it stands in the environment.
const PREFIX: &str = "os.environ/";

/// Where values come from.
pub(super) struct Environment<'a> {
    /// `environment_variables` of the file: they win over the process's, as they are written into its environment there.
    own: HashMap<String, String>,
    /// Those of them that somebody asked for.
    asked: RefCell<HashSet<String>>,
    process: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(own: Option<&Node>, process: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let entries = match own {
            Some(Node::Map(entries)) => entries.as_slice(),
            _ => &[],
        };
        let text = |node: &Node| match node {
            Node::Text(text) | Node::Number(text) => Some(text.clone()),
            Node::Flag(flag) => Some(flag.to_string()),
            _ => None,
        };
        let own = entries.iter().filter_map(|(name, node)| Some((name.clone(), text(node)?))).collect();
        Self { own, asked: RefCell::default(), process }
    }

    /// A variable of the file, and that it is asked for.
    fn own(&self, name: &str) -> Option<&String> {
        let (name, value) = self.own.get_key_value(name)?;
        self.asked.borrow_mut().insert(name.clone());
        Some(value)
    }

    /// Whether the file sets the variable. To look is not yet to use it.
    pub(super) fn has_own(&self, name: &str) -> bool {
        let is_set = |value: &String| match value.strip_prefix(PREFIX) {
            Some(other) => (self.process)(other).is_some_and(|value| !value.is_empty()),
            None => !value.is_empty(),
        };
        self.own.get(name).is_some_and(is_set)
    }

    /// Whether somebody asked for the variable of the file.
    pub(super) fn is_asked(&self, name: &str) -> bool {
        self.asked.borrow().contains(name)
    }

    /// The value of a variable; empty is unset.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let found = match self.own(name) {
            Some(value) => match value.strip_prefix(PREFIX) {
                // Of itself: the process's.
                Some(other) => (self.process)(other),
                None => Some(value.clone()),
            },
            None => (self.process)(name),
        };
        found.filter(|value| !value.is_empty())
    }

    /// A text that may stand in the environment; `Err`: the variable that is not set.
    pub(super) fn text(&self, written: &str) -> Result<String, String> {
        match written.strip_prefix(PREFIX) {
            Some(name) => self.get(name).ok_or_else(|| name.to_owned()),
            None => Ok(written.to_owned()),
        }
    }

    /// A secret as our own reference, so that it is read when it is needed and stands nowhere.
    pub(super) fn reference(&self, written: &str) -> String {
        match written.strip_prefix(PREFIX) {
            Some(name) => self.reference_to(name),
            None => literal(written),
        }
    }

    /// The same of a variable.
    pub(super) fn reference_to(&self, name: &str) -> String {
        match self.own(name) {
            None => format!("env:{name}"),
            Some(value) => match value.strip_prefix(PREFIX) {
                Some(other) => format!("env:{other}"),
                None => literal(value),
            },
        }
    }

    /// The first of these variables that is set, else the first of them.
    pub(super) fn preferred<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().find(|name| self.get(name).is_some()).or(names.first()).copied()
    }
}

/// Text that must not be taken for a reference.
fn literal(text: &str) -> String {
    let looks_like = ["env:", "file:", "template:", "derive:", "text:"].iter().any(|kind| text.starts_with(kind));
    if looks_like { format!("text:{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_the_files_own_and_then_the_processs() {
        let own = Node::read("A: from-file\nB: os.environ/C\nN: 5\nZ: os.environ/EMPTY\n").unwrap();
        let process = |name: &str| match name {
            "A" | "C" => Some(format!("process-{name}")),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let environment = Environment::new(Some(&own), &process);
        let text = |written: &str| environment.text(written);
        assert_eq!(text("os.environ/A").unwrap(), "from-file");
        assert_eq!(text("os.environ/B").unwrap(), "process-C");
        assert_eq!(text("os.environ/N").unwrap(), "5");
        assert_eq!(text("plain").unwrap(), "plain");
        assert_eq!(text("os.environ/EMPTY").unwrap_err(), "EMPTY");
        assert_eq!(environment.reference("os.environ/X"), "env:X");
        assert_eq!(environment.reference("os.environ/B"), "env:C");
        assert_eq!(environment.reference("os.environ/A"), "from-file");
        assert_eq!(environment.reference("env:X"), "text:env:X");
        assert!(environment.has_own("A") && environment.has_own("B"));
        assert!(!environment.has_own("C") && !environment.has_own("Z"));
        assert!(environment.is_asked("A") && !environment.is_asked("Z"), "nobody asked for Z");
    }
}
