//! What a call needs of a deployment, and which deployments cannot serve it.

use crate::{Deployment, Wanted};

/// Among binding labels: every one.
const EVERY: &str = "*";
/// Goes on from the beginning of an answer.
const PREFILL: &str = "assistant_prefill";

/// What a call needs of whoever serves it.
#[derive(Clone, Debug)]
pub struct Needs {
    /// The operation.
    pub wanted: Wanted,
    /// Tokens of the prompt: counted where that decides, else estimated from its bytes.
    pub input_tokens: u64,
    /// The most tokens of the answer; 0: not named.
    pub output_tokens: u64,
    /// The most queries of a ranking; 0: it is none.
    pub queries: u64,
    /// Characters that are spoken; 0: none are.
    pub characters: u64,
    /// The most milliseconds of sound that is listened to; 0: none is.
    pub audio_ms: u64,
    /// What it uses: `vision`, `tools`, `json_schema`, `audio_input`, `pdf`.
    pub capabilities: Vec<&'static str>,
    /// The beginning of its answer is given: only models that go on from there.
    pub prefill: bool,
    /// Its labels: those that bind are kept by [`Tags::binding`].
    pub tags: Vec<String>,
    /// Only deployments of this region.
    pub region: Option<String>,
    /// Only this deployment.
    pub pinned: Option<String>,
    /// Who is to be served by the same deployment again: a hash of what the group sticks to.
    pub sticky: Option<u64>,
}

impl Needs {
    /// Nothing but the operation.
    pub fn only(wanted: Wanted) -> Self {
        Self {
            wanted,
            input_tokens: 0,
            output_tokens: 0,
            queries: 0,
            characters: 0,
            audio_ms: 0,
            capabilities: Vec::new(),
            prefill: false,
            tags: Vec::new(),
            region: None,
            pinned: None,
            sticky: None,
        }
    }

    /// Why `deployment` cannot serve it; `None`: nothing is known that speaks against it.
    pub fn refuse(&self, deployment: &Deployment, tags: &Tags) -> Option<String> {
        if !deployment.serves(self.wanted) {
            return Some("does not offer this operation".into());
        }
        if self.pinned.as_ref().is_some_and(|pinned| *pinned != deployment.name) {
            return Some("is not the one that the call is pinned to".into());
        }
        if let Some(reason) = tags.refuse(&self.tags, &deployment.tags) {
            return Some(reason);
        }
        if let Some(region) = self.region.as_deref().filter(|region| deployment.region.as_deref() != Some(*region)) {
            return Some(match &deployment.region {
                Some(other) => format!("is in the region {other}, not in {region}"),
                None => format!("its region is not known to be {region}"),
            });
        }
        if self.prefill && !deployment.capabilities.iter().any(|listed| listed == PREFILL) {
            return Some(format!("does not list {PREFILL}, so that it cannot go on with an answer"));
        }
        if let Some(window) = deployment.context_window.filter(|_| self.is_too_long_for(deployment)) {
            let (input, output) = (self.input_tokens, self.output_tokens);
            return Some(match output {
                0 => format!("the prompt of about {input} tokens does not fit its window of {window}"),
                _ => format!(
                    "the prompt of about {input} tokens and an answer of {output} do not fit its window of {window}"
                ),
            });
        }
        None
    }

    /// Whether the prompt does not fit its context window.
    pub fn is_too_long_for(&self, deployment: &Deployment) -> bool {
        // Of both together, as far as the call says how long its answer may be.
        let most = self.input_tokens.saturating_add(self.output_tokens);
        deployment.context_window.is_some_and(|window| most > window)
    }

    /// Which of the needed capabilities a deployment does not list.
    pub fn unlisted(&self, deployment: &Deployment) -> Option<&'static str> {
        let lists = |wanted: &&str| deployment.capabilities.iter().any(|listed| listed == *wanted);
        self.capabilities.iter().find(|wanted| !lists(wanted)).copied()
    }
}

/// Which labels bind a call to deployments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// Labels that bind: a call that has one goes only where the deployment has it too. All that any deployment has, and those that
    /// the configuration names; with `*` among them every label binds.
    pub binding: Vec<String>,
    /// One of a call's binding labels is enough.
    pub any: bool,
    /// What a call without a binding label is bound to.
    pub default: Option<String>,
}

impl Tags {
    /// Why a call of these labels does not go to a deployment of those; `None`: it may.
    pub fn refuse(&self, call: &[String], deployment: &[String]) -> Option<String> {
        let all = self.binding.iter().any(|tag| tag == EVERY);
        let mut bound = call.iter().filter(|tag| all || self.binding.contains(tag)).peekable();
        let needed = if bound.peek().is_some() { None } else { self.default.as_ref() };
        if self.any && bound.clone().any(|tag| deployment.contains(tag)) {
            return None;
        }
        let missing = bound.chain(needed).find(|tag| !deployment.contains(tag))?;
        Some(format!("is not tagged {missing:?}, as the call is"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(of: &[&str]) -> Vec<String> {
        of.iter().map(|tag| (*tag).to_owned()).collect()
    }

    #[test]
    fn a_binding_tag_goes_only_where_it_is_wanted() {
        let rules = Tags { binding: tags(&["pii", "eu"]), ..Tags::default() };
        let goes = |call: &[&str], deployment: &[&str]| rules.refuse(&tags(call), &tags(deployment)).is_none();
        assert!(goes(&["pii"], &["pii", "eu"]));
        assert!(!goes(&["pii"], &[]));
        assert!(!goes(&["pii", "eu"], &["pii"]), "all of them bind");
        assert!(goes(&["team-a"], &[]), "a label of accounting binds nobody");
        assert!(goes(&[], &["pii"]));
    }

    #[test]
    fn calls_without_a_binding_tag_can_be_kept_to_the_default() {
        let rules = Tags { binding: tags(&["pii"]), default: Some("default".into()), any: false };
        let goes = |call: &[&str], deployment: &[&str]| rules.refuse(&tags(call), &tags(deployment)).is_none();
        assert!(goes(&["team-a"], &["default"]));
        assert!(!goes(&["team-a"], &["pii"]));
        assert!(goes(&["pii"], &["pii"]));
        assert!(!goes(&["pii"], &["default"]));
    }

    #[test]
    fn every_label_can_bind_and_one_of_several_be_enough() {
        let rules = Tags { binding: tags(&["*"]), default: Some("default".into()), any: true };
        let goes = |call: &[&str], deployment: &[&str]| rules.refuse(&tags(call), &tags(deployment)).is_none();
        assert!(goes(&["pii", "team-a"], &["pii"]));
        assert!(!goes(&["team-a"], &["pii"]) && !goes(&["team-a"], &["default"]) && !goes(&["team-a"], &[]));
        assert!(goes(&[], &["default"]) && !goes(&[], &["pii"]) && goes(&["default"], &["default"]));
        let all = Tags { any: false, ..rules.clone() };
        assert!(all.refuse(&tags(&["pii", "team-a"]), &tags(&["pii"])).is_some());
    }
}
