//! Finding models in the catalogue.

use super::{Catalogue, Entry};

/// What is looked for. What is empty does not narrow the list.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Words that must all stand in provider, id or alias, in any case.
    pub search: String,
    /// The provider's kind.
    pub provider: String,
    /// What must all be listed.
    pub capabilities: Vec<String>,
    /// What it is for.
    pub mode: String,
}

impl Query {
    fn finds(&self, entry: &Entry) -> bool {
        let is = |wanted: &str, it: &str| wanted.is_empty() || wanted == it;
        let names = || format!("{} {}", entry.provider, entry.ids().collect::<Vec<_>>().join(" ")).to_lowercase();
        is(&self.provider, &entry.provider)
            && is(&self.mode, &entry.mode)
            && self.capabilities.iter().all(|wanted| entry.capabilities.contains(wanted))
            && self.search.to_lowercase().split_whitespace().all(|word| names().contains(word))
    }
}

impl Catalogue {
    /// The rows that a query finds, by provider and id.
    pub fn search<'a>(&'a self, query: &'a Query) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| query.finds(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(query: &Query) -> Vec<String> {
        Catalogue::embedded().search(query).map(Entry::key).collect()
    }

    #[test]
    fn all_words_of_a_search_must_stand_somewhere_in_the_names() {
        let all = found(&Query { search: "OpenAI mini 4o".into(), provider: "openai".into(), ..Query::default() });
        assert!(all.contains(&"openai/gpt-4o-mini".to_owned()), "{all:?}");
        assert!(all.iter().all(|key| key.contains("mini") && key.contains("4o")), "{all:?}");
        assert!(all.is_sorted());
        assert_eq!(found(&Query { search: "no such model".into(), ..Query::default() }), [""; 0]);
    }

    #[test]
    fn provider_mode_and_capabilities_narrow_together() {
        let query = Query {
            provider: "anthropic".into(),
            mode: "chat".into(),
            capabilities: vec!["tools".into(), "reasoning".into()],
            ..Query::default()
        };
        let narrowed = found(&query);
        assert!(!narrowed.is_empty());
        for key in &narrowed {
            let entry = Catalogue::embedded().entries().iter().find(|e| e.key() == *key).unwrap();
            assert_eq!((entry.provider.as_str(), entry.mode.as_str()), ("anthropic", "chat"));
            assert!(entry.capabilities.contains(&"tools".into()) && entry.capabilities.contains(&"reasoning".into()));
        }
        assert_eq!(found(&Query::default()).len(), Catalogue::embedded().entries().len());
    }
}
