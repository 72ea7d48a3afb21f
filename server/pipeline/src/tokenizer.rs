//! Which tokenizer a model has, as far as anybody outside its provider can know.
//!
//! OpenAI publishes its vocabularies ("How to count tokens with tiktoken", OpenAI cookbook), and they are part of this program. Others
//! are estimated over `o200k_base`: a factor by family, rough by nature, for planning and never for money.

use std::fmt;

use bpe_openai::Tokenizer;

/// How a model's tokens are counted.
#[derive(Clone, Copy)]
pub(crate) struct Counting {
    /// The vocabulary.
    pub(crate) tokenizer: &'static Tokenizer,
    /// Its name.
    pub(crate) name: &'static str,
    /// Tokens of the model for a hundred of the vocabulary's; `None`: it is the model's own.
    pub(crate) percent: Option<u64>,
}

/// Beginnings of OpenAI's model ids and their vocabularies, the longer ones first.
const OWN: [(&str, Vocabulary); 15] = [
    ("gpt-4o", Vocabulary::O200k),
    ("gpt-4.1", Vocabulary::O200k),
    ("gpt-4.5", Vocabulary::O200k),
    ("gpt-5", Vocabulary::O200k),
    ("gpt-6", Vocabulary::O200k),
    ("chatgpt-4o", Vocabulary::O200k),
    ("codex-mini", Vocabulary::O200k),
    ("o1", Vocabulary::O200k),
    ("o3", Vocabulary::O200k),
    ("o4", Vocabulary::O200k),
    ("gpt-4", Vocabulary::Cl100k),
    ("gpt-3.5-turbo", Vocabulary::Cl100k),
    ("gpt-35-turbo", Vocabulary::Cl100k), // Azure's spelling
    ("text-embedding-3", Vocabulary::Cl100k),
    ("text-embedding-ada-002", Vocabulary::Cl100k),
];

/// Tokens of a family for a hundred of `o200k_base`, by a word in the model's id. The reasons are sizes of vocabularies, which the
/// providers publish, and what users measured of the two whose vocabularies are secret.
const FAMILIES: [(&str, u64); 17] = [
    ("gpt-oss", 100),   // o200k, within a template of its own, which servers fill differently
    ("claude", 125),    // secret; 15 to 30 % more, most of all for code
    ("gemini", 105),    // SentencePiece of 256,000, shared with Gemma
    ("gemma", 105),     // 256,000
    ("command", 105),   // 256,000
    ("llama", 110),     // 128,000 since Llama 3
    ("deepseek", 110),  // 129,000
    ("qwen", 110),      // 152,000
    ("grok", 110),      // 131,000
    ("kimi", 105),      // 164,000
    ("glm", 110),       // 151,000
    ("mistral", 115),   // 131,000 (Tekken); 32,000 before
    ("ministral", 115), // 131,000
    ("magistral", 115), // 131,000
    ("codestral", 125), // 32,000
    ("mixtral", 125),   // 32,000
    ("nova", 125),      // secret
];

/// Of a model that nobody knows: as with the smallest vocabularies in use.
const UNKNOWN: u64 = 125;

#[derive(Clone, Copy)]
enum Vocabulary {
    Cl100k,
    O200k,
}

impl Counting {
    /// With `o200k_base`, whatever the model.
    pub(crate) fn o200k() -> Self {
        Self::with(Vocabulary::O200k, None)
    }

    /// As the model counts, by its id at its provider: `gpt-4o-2024-08-06`, `openai/gpt-5-mini`, `us.anthropic.claude-...`.
    pub(crate) fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        let id = model.rsplit('/').next().unwrap_or(&model);
        // A model that somebody else has tuned keeps the vocabulary: `ft:gpt-4o-mini:...`.
        let id = id.strip_prefix("ft:").unwrap_or(id);
        if let Some((_, vocabulary)) = OWN.iter().find(|(beginning, _)| begins(id, beginning)) {
            return Self::with(*vocabulary, None);
        }
        let family = FAMILIES.iter().find(|(word, _)| model.contains(word));
        Self::with(Vocabulary::O200k, Some(family.map_or(UNKNOWN, |(_, percent)| *percent)))
    }

    fn with(vocabulary: Vocabulary, percent: Option<u64>) -> Self {
        let (tokenizer, name) = match vocabulary {
            Vocabulary::Cl100k => (bpe_openai::cl100k_base(), "cl100k_base"),
            Vocabulary::O200k => (bpe_openai::o200k_base(), "o200k_base"),
        };
        Self { tokenizer, name, percent }
    }

    /// Tokens of a text, by the vocabulary.
    pub(crate) fn tokens_of(&self, text: &str) -> u64 {
        self.tokenizer.count(text) as u64
    }

    /// The model's tokens for so many of the vocabulary's.
    pub(crate) fn scaled(&self, tokens: u64) -> u64 {
        self.percent.map_or(tokens, |percent| tokens.saturating_mul(percent).div_ceil(100))
    }
}

/// Whether an id is of a family: `o1` is not the beginning of `o100`.
fn begins(id: &str, beginning: &str) -> bool {
    id.strip_prefix(beginning).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counting").field("name", &self.name).field("percent", &self.percent).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(model: &str) -> (&'static str, Option<u64>) {
        let counting = Counting::of(model);
        (counting.name, counting.percent)
    }

    #[test]
    fn the_models_id_decides_which_vocabulary_counts() {
        for model in
            ["gpt-4o-2024-08-06", "gpt-4.1-mini", "openai/gpt-5-mini", "o3-mini", "o1", "ft:gpt-4o-mini:acme::1"]
        {
            assert_eq!(counting(model), ("o200k_base", None), "{model}");
        }
        for model in ["gpt-4-turbo-2024-04-09", "gpt-4", "gpt-3.5-turbo", "text-embedding-3-small"] {
            assert_eq!(counting(model), ("cl100k_base", None), "{model}");
        }
    }

    #[test]
    fn other_families_are_estimated_and_an_unknown_one_as_the_worst() {
        assert_eq!(counting("us.anthropic.claude-sonnet-4-5-20250929-v1:0"), ("o200k_base", Some(125)));
        assert_eq!(counting("gemini-2.5-flash"), ("o200k_base", Some(105)));
        assert_eq!(counting("accounts/fireworks/models/llama-v3p3-70b-instruct"), ("o200k_base", Some(110)));
        assert_eq!(counting("somebody-s-own"), ("o200k_base", Some(UNKNOWN)));
        // Of another house, though it begins alike.
        assert_eq!(counting("o100-large"), ("o200k_base", Some(UNKNOWN)));
    }

    #[test]
    fn an_estimate_is_rounded_up() {
        assert_eq!(Counting::of("claude-sonnet-5").scaled(3), 4);
        assert_eq!(Counting::of("gpt-4o").scaled(3), 3);
    }
}
