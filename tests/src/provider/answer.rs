//! What the pretended model says, in no provider's dialect: words, a tool call, or a document that fits a schema.
//!
//! **Counting rule.** Prompt tokens are the words (separated by ASCII whitespace) of all message texts, plus 3 for every
//! message; a system prompt beside the messages counts as one. Completion tokens are the deltas written times
//! `tokens_per_chunk`, plus the reasoning tokens when reasoning was asked for, which are billed with the first thing
//! written. An unstreamed answer is counted as if it had been streamed. An output limit cuts the deltas, not the reasoning.

use serde_json::Value;

use super::schema;
use super::script::Step;

/// A call as both dialects ask it.
#[derive(Debug, Default)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) prompt_tokens: u64,
    /// The output limit.
    pub(super) limit: Option<u64>,
    /// How many answers are wanted (OpenAI's `n`).
    pub(super) choices: u32,
    /// The tools to call, if one is to be called: name and JSON schema of the arguments.
    pub(super) tool: Option<(String, Value)>,
    /// The second tool of a parallel call, when there are several to choose from.
    pub(super) second_tool: Option<(String, Value)>,
    /// The caller forbade parallel tool calls.
    pub(super) one_tool_only: bool,
    /// The conversation ends with a tool's result: the model is done with tools, unless the step says otherwise.
    pub(super) has_result: bool,
    /// The answer is a document for this schema.
    pub(super) schema: Option<Value>,
    /// Reasoning was asked for.
    pub(super) reasoning: bool,
    /// The directive found in the last user message.
    pub(super) directive: Option<Step>,
}

/// One piece of output and the tokens it is billed at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Delta {
    pub(super) text: String,
    pub(super) tokens: u64,
}

/// A tool call, its arguments in deltas.
#[derive(Debug)]
pub(super) struct ToolCall {
    pub(super) name: String,
    pub(super) arguments: Vec<Delta>,
}

/// Why the answer ended, in no dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
    ToolCalls,
}

/// The whole answer, planned before its first byte is sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) text: Vec<Delta>,
    pub(super) tools: Vec<ToolCall>,
    pub(super) finish: Finish,
    pub(super) usage: Usage,
}

/// What the answer costs when it is delivered to the end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) prompt_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) cache_write_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) reasoning_tokens: u64,
}

impl Delta {
    fn total(deltas: &[Delta]) -> u64 {
        deltas.iter().map(|delta| delta.tokens).sum()
    }

    pub(super) fn join(deltas: &[Delta]) -> String {
        deltas.iter().map(|delta| delta.text.as_str()).collect()
    }
}

impl Ask {
    /// Plans the answer to this call under this step.
    pub(super) fn answer(&self, step: &Step) -> Answer {
        let (mut text, tools) = match (&step.text, &self.tool) {
            (Some(text), _) => (spread(split(text, step.chunks), step), Vec::new()),
            (None, Some(_)) if !self.has_result || step.calls_tool => (Vec::new(), self.tool_calls(step)),
            (None, _) => {
                let words = match &self.schema {
                    Some(schema) => split(&schema::example(schema).to_string(), step.chunks),
                    None => words(step.chunks.unwrap_or_else(|| default_chunks(step))),
                };
                (spread(words, step), Vec::new())
            }
        };
        let cut = self.limit.is_some_and(|limit| truncate(&mut text, limit));
        let finish = match (cut, tools.is_empty()) {
            (true, _) => Finish::Length,
            (_, false) => Finish::ToolCalls,
            _ => Finish::Stop,
        };
        let reasoning_tokens = if self.reasoning { step.reasoning_tokens.unwrap_or(7) } else { 0 };
        let spoken = Delta::total(&text) + tools.iter().map(|tool| Delta::total(&tool.arguments)).sum::<u64>();
        let prompt_tokens = step.prompt_tokens.unwrap_or(self.prompt_tokens);
        let usage = Usage {
            prompt_tokens,
            cached_tokens: step.cached_tokens.unwrap_or(0).min(prompt_tokens),
            cache_write_tokens: step.cache_write_tokens.unwrap_or(0),
            completion_tokens: spoken * u64::from(self.choices.max(1)) + reasoning_tokens,
            reasoning_tokens,
        };
        Answer { text, tools, finish, usage }
    }

    fn tool_calls(&self, step: &Step) -> Vec<ToolCall> {
        let second =
            if step.parallel && !self.one_tool_only { self.second_tool.as_ref().or(self.tool.as_ref()) } else { None };
        let calls = self.tool.iter().chain(second);
        let call = |(name, parameters): &(String, Value)| ToolCall {
            name: name.clone(),
            arguments: spread(pieces(&schema::example(parameters).to_string(), step.chunks.unwrap_or(4)), step),
        };
        calls.map(call).collect()
    }
}

/// Counts words separated by ASCII whitespace.
pub(super) fn count_words(text: &str) -> u64 {
    let starts = |pair: &[u8]| pair[0].is_ascii_whitespace() && !pair[1].is_ascii_whitespace();
    let first = text.bytes().next().is_some_and(|byte| !byte.is_ascii_whitespace());
    u64::from(first) + text.as_bytes().windows(2).filter(|pair| starts(pair)).count() as u64
}

fn default_chunks(step: &Step) -> u32 {
    match step.output_tokens {
        Some(tokens) => tokens.div_ceil(step.tokens_per_chunk.unwrap_or(1).max(1)).min(100_000) as u32,
        None => 16,
    }
}

const WORDS: [&str; 16] = [
    "the", "toll", "is", "paid", "once", "and", "every", "coin", "is", "written", "down", "before", "the", "gate",
    "opens", "again",
];

fn words(count: u32) -> Vec<String> {
    let word = |at: usize| match at {
        0 => WORDS[0].to_owned(),
        _ => format!(" {}", WORDS[at % WORDS.len()]),
    };
    (0..count as usize).map(word).collect()
}

/// Cuts a text into words, each with the blanks before it, or into a given number of pieces.
fn split(text: &str, chunks: Option<u32>) -> Vec<String> {
    if let Some(chunks) = chunks {
        return pieces(text, chunks);
    }
    let mut words: Vec<String> = Vec::new();
    let mut blank_before = true;
    for letter in text.chars() {
        let blank = letter.is_whitespace();
        match words.last_mut() {
            Some(word) if !blank || blank_before => word.push(letter),
            _ => words.push(letter.into()),
        }
        blank_before = blank;
    }
    words
}

/// Cuts a text into this many pieces of nearly equal length (empty ones when it is too short).
fn pieces(text: &str, count: u32) -> Vec<String> {
    let (letters, count) = (text.chars().collect::<Vec<_>>(), count as usize);
    let bound = |at: usize| letters.len() * at / count;
    (0..count).map(|at| letters[bound(at)..bound(at + 1)].iter().collect()).collect()
}

/// Prices the deltas: evenly, or so that they add up to `output_tokens`, the last one taking the remainder.
fn spread(texts: Vec<String>, step: &Step) -> Vec<Delta> {
    let count = texts.len() as u64;
    let each = match step.output_tokens {
        Some(total) => total / count.max(1),
        None => step.tokens_per_chunk.unwrap_or(1),
    };
    let mut deltas: Vec<_> = texts.into_iter().map(|text| Delta { text, tokens: each }).collect();
    if let (Some(total), Some(last)) = (step.output_tokens, deltas.last_mut()) {
        last.tokens = total - each * (count - 1);
    }
    deltas
}

/// Cuts the deltas at the output limit and tells whether anything was lost.
fn truncate(deltas: &mut Vec<Delta>, limit: u64) -> bool {
    let mut left = limit;
    for at in 0..deltas.len() {
        if deltas[at].tokens > left {
            deltas[at].tokens = left;
            deltas.truncate(at + usize::from(left > 0));
            return true;
        }
        left -= deltas[at].tokens;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(limit: Option<u64>, step: Step) -> Answer {
        Ask { limit, ..Ask::default() }.answer(&step)
    }

    #[test]
    fn words_are_counted_like_split_whitespace_does() {
        for text in ["", " ", "one", " one two\tthree\n", "a  b   c "] {
            assert_eq!(count_words(text), text.split_ascii_whitespace().count() as u64, "{text:?}");
        }
    }

    #[test]
    fn a_literal_text_survives_being_cut_into_deltas() {
        for chunks in [None, Some(1), Some(3), Some(40)] {
            let answer = says(None, Step { text: Some("Grüße,  wie geht's ?".into()), chunks, ..Step::default() });
            assert_eq!(Delta::join(&answer.text), "Grüße,  wie geht's ?");
        }
    }

    #[test]
    fn the_output_limit_cuts_and_says_so() {
        let answer = says(Some(5), Step { tokens_per_chunk: Some(2), ..Step::streams(16) });
        assert_eq!(answer.text.iter().map(|delta| delta.tokens).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(answer.finish, Finish::Length);
        assert_eq!(says(Some(16), Step::default()).finish, Finish::Stop);
    }

    #[test]
    fn scripted_output_tokens_add_up_exactly() {
        let answer = says(None, Step { output_tokens: Some(1003), ..Step::streams(10) });
        assert_eq!(answer.usage.completion_tokens, 1003);
        assert_eq!(answer.text.len(), 10);
    }
}
