//! Where the contract's messages stand in the caller's: instructions and results of tools are messages of their own in
//! the contract, so its paths count otherwise.

use tollgate_proto::v1::Message;

/// Names of the contract's, and what a caller of this dialect calls the same.
const NAMES: [(&str, &str); 2] =
    [("max_output_tokens", "max_tokens"), ("reasoning.budget_tokens", "thinking.budget_tokens")];

/// Where each of the contract's messages stands, and with which block it begins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Vec<Place>);

#[derive(Clone, Debug)]
struct Place {
    message: String,
    blocks: String,
    first: usize,
}

impl Places {
    /// The instructions.
    pub(super) fn system(&mut self) {
        self.0.push(Place { message: "system".into(), blocks: "system".into(), first: 0 });
    }

    /// What the message at `path` became.
    pub(super) fn message(&mut self, path: &str, became: &[Message]) {
        let mut first = 0;
        for message in became {
            self.0.push(Place { message: path.to_owned(), blocks: format!("{path}.content"), first });
            first += message.parts.len();
        }
    }

    /// A text of the contract's with the caller's paths in it.
    pub(crate) fn in_callers_words(&self, text: &str) -> String {
        let mut told = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("messages[") {
            told.push_str(before);
            let place = number(behind).and_then(|(at, behind)| Some((self.0.get(at)?, behind)));
            rest = match place {
                Some((place, behind)) => {
                    let inner = behind.strip_prefix(".content[").or_else(|| behind.strip_prefix(".parts["));
                    match inner.and_then(number) {
                        Some((block, behind)) => {
                            told.push_str(&format!("{}[{}]", place.blocks, place.first + block));
                            behind
                        }
                        None => {
                            told.push_str(&place.message);
                            behind
                        }
                    }
                }
                None => {
                    told.push_str("messages[");
                    behind
                }
            };
        }
        told.push_str(rest);
        NAMES.iter().fold(without_roots(&told), |text, (ours, theirs)| text.replace(ours, theirs))
    }
}

/// Without what the contract's paths begin with. A sentence may end with the same word.
fn without_roots(text: &str) -> String {
    let text = text.replace("request.original.body:", "");
    let mut pieces = text.split("request.");
    let mut told = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        if !piece.starts_with(|c: char| c.is_ascii_lowercase()) {
            told.push_str("request.");
        }
        told.push_str(piece);
    }
    told
}

/// A number and the bracket behind it, and what follows.
fn number(text: &str) -> Option<(usize, &str)> {
    let (digits, rest) = text.split_once(']')?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use tollgate_proto::v1::Part;

    use super::*;

    #[test]
    fn paths_are_the_callers_own() {
        let of = |parts: usize| Message { parts: vec![Part::default(); parts], ..Message::default() };
        let mut places = Places::default();
        places.system();
        places.message("messages[0]", &[of(1)]);
        places.message("messages[1]", &[of(2), of(3)]);
        for (ours, theirs) in [
            ("messages[0].content[1].cache_control", "system[1].cache_control"),
            ("request.messages[1].parts[0].image: needs", "messages[0].content[0].image: needs"),
            ("messages[3].content[1], messages[2]", "messages[1].content[3], messages[1]"),
            ("messages[9].content[0]", "messages[9].content[0]"),
            ("messages[", "messages["),
            ("request.max_output_tokens: must be", "max_tokens: must be"),
            ("nothing came of the request. Try again", "nothing came of the request. Try again"),
        ] {
            assert_eq!(places.in_callers_words(ours), theirs);
        }
    }
}
