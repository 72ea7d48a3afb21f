//! Prompts are counted: where their window is in doubt, and for whoever asks.
//!
//! Templates add what OpenAI documents for its own ("How to count tokens with tiktoken", OpenAI cookbook): three tokens a message, one
//! for its role, one more for a name, and three that begin the answer. Of tools and media no rule is published, so that counts with
//! them are estimates.

use std::sync::Arc;

use tollgate_domain::Error;
use tollgate_proto::v1::{
    AudioPart, CompletionRequest, CountTokensResponse, DeploymentTokens, FilePart, part::Content,
    response_format::Format,
};
use tollgate_router::Routes;

use crate::{
    Call, Caller, Pipeline, bound,
    call::Request,
    prompt::{Weights, weigh},
    tokenizer::Counting,
};

/// Text has two to twelve bytes a token, whatever its language: outside of that nothing needs to be counted.
const BYTES: std::ops::Range<u64> = 2..12;
/// Shorter prompts are counted where they are.
const QUICK: u64 = 64 << 10;

impl Weights for Counting {
    fn request(&self) -> u64 {
        3
    }

    fn message(&self) -> u64 {
        4
    }

    fn name(&self) -> u64 {
        1
    }

    fn tool(&self) -> u64 {
        0
    }

    fn call(&self) -> u64 {
        0
    }

    fn text(&self, text: &str) -> u64 {
        self.tokens_of(text)
    }

    fn aside(&self, _: &str) -> u64 {
        0
    }

    /// What OpenAI's models take for an image of low detail; of other media nothing is known.
    fn image(&self) -> u64 {
        85
    }

    fn audio(&self, _: &AudioPart) -> u64 {
        0
    }

    fn file(&self, _: &FilePart) -> u64 {
        0
    }
}

/// Whether it takes counting to say if a prompt of so many bytes fits every model of `routes`.
pub(crate) fn are_in_doubt(bytes: u64, routes: &Routes) -> bool {
    let mut windows = routes.groups().flat_map(|group| &group.deployments).filter_map(|d| d.context_window);
    windows.any(|window| (window.saturating_mul(BYTES.start)..window.saturating_mul(BYTES.end)).contains(&bytes))
}

/// Tokens of a prompt with the largest vocabulary in use, that of GPT-4o and everything after it. For other models it is a lower bound for
/// practical purposes: smaller vocabularies (Claude's, Llama's, Mistral's) make more tokens of the same text. Who is left out by it would
/// have refused; who refuses all the same falls back by the class of the error.
pub(crate) async fn count(request: &Arc<CompletionRequest>, bytes: u64) -> u64 {
    counted(request, bytes, Counting::o200k()).await
}

async fn counted(request: &Arc<CompletionRequest>, bytes: u64, by: Counting) -> u64 {
    if bytes < QUICK {
        return weigh(request, &by);
    }
    let text = request.clone();
    let counting = tokio::task::spawn_blocking(move || weigh(&text, &by));
    counting.await.unwrap_or_else(|_| bound::estimate(bytes))
}

impl Pipeline {
    /// Tokens of a call's prompt at each deployment of its model. Nothing is sent and nothing held.
    pub async fn count_tokens(&self, caller: &Caller, call: &Call) -> Result<CountTokensResponse, Error> {
        let permit = self.route(caller.clone(), call)?;
        let Request::Completion(request, _) = &call.request else {
            return Err(Error::invalid_field("request", "must be a completion"));
        };
        let bound = bound::completion_input(request);
        let bytes = bound::least_input(request);
        let is_plain = is_plain_text(request);
        let mut counts: Vec<(&str, u64)> = Vec::new();
        let mut rows = Vec::new();
        for deployment in permit.routes.own().into_iter().flat_map(|group| &group.deployments) {
            let by = Counting::of(&deployment.endpoint.target.model);
            let known = counts.iter().find(|(name, _)| *name == by.name).map(|(_, tokens)| *tokens);
            let tokens = match known {
                Some(tokens) => tokens,
                None => {
                    let tokens = counted(request, bytes, by).await;
                    counts.push((by.name, tokens));
                    tokens
                }
            };
            rows.push(DeploymentTokens {
                deployment: deployment.name.clone(),
                input_tokens: by.scaled(tokens).min(bound),
                exact: is_plain && by.percent.is_none(),
                tokenizer: by.name.to_owned(),
            });
        }
        let most = rows.iter().max_by_key(|row| row.input_tokens).cloned().unwrap_or_default();
        Ok(CountTokensResponse {
            input_tokens: most.input_tokens,
            exact: rows.iter().all(|row| row.exact),
            bound,
            tokenizer: most.tokenizer,
            deployments: rows,
        })
    }
}

/// Whether nothing but text is said, so that the published rules count all of it.
fn is_plain_text(request: &CompletionRequest) -> bool {
    let formats =
        matches!(request.response_format.as_ref().and_then(|f| f.format.as_ref()), None | Some(Format::Text(_)));
    let is_text = |message: &tollgate_proto::v1::Message| {
        message.extra_json.is_empty()
            && message
                .parts
                .iter()
                .all(|part| matches!(part.content, Some(Content::Text(_))) && part.extra_json.is_empty())
    };
    formats && request.tools.is_empty() && request.extra_json.is_empty() && request.messages.iter().all(is_text)
}

#[cfg(test)]
mod tests {
    use tollgate_proto::v1::{ImagePart, Message, Part, TextPart, Tool};

    use super::*;

    fn text(text: &str) -> Part {
        Part { content: Some(Content::Text(TextPart { text: text.into() })), ..Part::default() }
    }

    fn saying(said: &str) -> CompletionRequest {
        let message = Message { parts: vec![text(said)], ..Message::default() };
        CompletionRequest { messages: vec![message], ..CompletionRequest::default() }
    }

    /// Texts and their tokens in `o200k_base` and `cl100k_base`, as `tiktoken` 0.14 counts them.
    const KNOWN: [(&str, u64, u64); 15] = [
        ("", 0, 0),
        ("Hi", 1, 1),
        ("tiktoken is great!", 6, 6),
        ("antidisestablishmentarianism", 6, 6),
        ("2 + 2 = 4", 7, 7),
        ("お誕生日おめでとう", 8, 9),
        ("大门早上打开。", 6, 8),
        ("The gate is open in the morning and closed in the evening.", 13, 13),
        ("{\"city\":\"Paris\",\"unit\":\"celsius\"}", 10, 10),
        ("fn main() {\n    println!(\"{}\", 1 + 1);\n}\n", 14, 14),
        ("Здравствуйте, мир! 🌍🚀", 8, 16),
        ("   spaces\t\ttabs\n\n\nlines   ", 8, 8),
        ("<|endoftext|>", 7, 7), // text that looks like a control token is text
        ("1234567890 3.14159", 9, 9),
        ("don't I'LL they've", 4, 7),
    ];

    #[test]
    fn text_is_counted_as_openai_counts_it() {
        for (said, o200k, cl100k) in KNOWN {
            assert_eq!(Counting::of("gpt-4o").tokens_of(said), o200k, "{said:?}");
            assert_eq!(Counting::of("gpt-4").tokens_of(said), cl100k, "{said:?}");
        }
    }

    #[test]
    fn messages_are_framed_as_openai_documents_it() {
        // The example of OpenAI's cookbook, for which its service counts 129 tokens with GPT-4 and 124 with GPT-4o.
        let conversation = [
            ("", "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."),
            ("example_user", "New synergies will help drive top-line growth."),
            ("example_assistant", "Things working well together will increase revenue."),
            (
                "example_user",
                "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
            ),
            ("example_assistant", "Let's talk later when we're less busy about how to do better."),
            ("", "This late pivot means we don't have time to boil the ocean for the client deliverable."),
        ];
        let messages = conversation.map(|(name, said)| Message {
            parts: vec![text(said)],
            name: (!name.is_empty()).then(|| name.to_owned()),
            ..Message::default()
        });
        let request = CompletionRequest { messages: messages.into(), ..CompletionRequest::default() };
        assert_eq!(weigh(&request, &Counting::of("gpt-4")), 129);
        assert_eq!(weigh(&request, &Counting::of("gpt-4o")), 124);
    }

    #[test]
    fn no_count_is_above_the_bound() {
        for (said, ..) in KNOWN {
            let request = saying(said);
            for model in ["gpt-4o", "gpt-4"] {
                assert!(weigh(&request, &Counting::of(model)) <= bound::completion_input(&request), "{said:?}");
            }
        }
    }

    #[test]
    fn only_plain_text_is_counted_exactly() {
        assert!(is_plain_text(&saying("Hi")));
        let tools = vec![Tool::default()];
        assert!(!is_plain_text(&CompletionRequest { tools, ..saying("Hi") }));
        let mut seen = saying("Hi");
        seen.messages[0].parts.push(Part { content: Some(Content::Image(ImagePart::default())), ..Part::default() });
        assert!(!is_plain_text(&seen));
        let extra_json = r#"{"web_search_options":{}}"#.to_owned();
        assert!(!is_plain_text(&CompletionRequest { extra_json, ..saying("Hi") }));
    }

    #[test]
    fn prose_has_more_bytes_a_token_than_code_or_chinese() {
        let per_token = |text: &str| text.len() as f64 / Counting::o200k().tokens_of(text) as f64;
        let prose = per_token(&"The gate is open in the morning and closed in the evening. ".repeat(50));
        let chinese = per_token(&"\u{5927}\u{95e8}\u{65e9}\u{4e0a}\u{6253}\u{5f00}\u{3002}".repeat(50));
        assert!(prose > 4.0 && (2.0..12.0).contains(&prose), "{prose}");
        assert!((2.0..prose).contains(&chinese), "{chinese}");
    }
}
