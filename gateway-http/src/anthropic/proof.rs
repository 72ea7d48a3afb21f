//! Proofs of reasoning: a block of thinking has no member that says whose it is, so the proof of any model but Claude's
//! says it itself.

/// Before the format of a proof that is not Anthropic's; a colon follows the format.
const MARK: &str = "tollgate:";
/// As in `ReasoningPart.format`.
const ANTHROPIC: &str = "anthropic-claude-v1";
/// Words without a proof.
pub(super) const UNSIGNED: &str = "unsigned";

/// A proof as clients carry it back.
pub(super) fn packed(proof: &str, format: &str) -> String {
    if format == ANTHROPIC { proof.to_owned() } else { format!("{MARK}{format}:{proof}") }
}

/// The proof, and whose it is; `None`: nobody said.
pub(super) fn unpacked(packed: String) -> (String, Option<String>) {
    match packed.strip_prefix(MARK).and_then(|rest| rest.split_once(':')) {
        Some((format, proof)) => (proof.to_owned(), Some(format.to_owned()).filter(|format| !format.is_empty())),
        None => (packed, Some(ANTHROPIC.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_comes_back_as_it_was_with_the_name_of_whose_it_is() {
        for (proof, format) in [("EqQB==", ANTHROPIC), ("a:b", "google-gemini-v1"), ("", "openai-responses-v1")] {
            assert_eq!(unpacked(packed(proof, format)), (proof.to_owned(), Some(format.to_owned())));
        }
        assert_eq!(unpacked(packed("x", "")), ("x".to_owned(), None));
        assert_eq!(packed("EqQB==", ANTHROPIC), "EqQB==", "Claude's own is not touched");
    }
}
