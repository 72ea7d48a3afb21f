//! Changes that know what the inputs are: JSON texts in lines. Bytes changed blindly mostly end as text that no decoder looks into.

use std::ops::Range;

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

use crate::targets::input::HEAD;

/// In the place of a string's content.
const TEXTS: [&str; 12] = [
    "",
    " ",
    "0",
    "null",
    "\u{e9}",
    "\u{20ac}uro",
    "\u{1f600}",
    "\u{feff}",
    "\\u0000",
    "\\ud83d\\ude00",
    "\\\"",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// In the place of a number or a word of JSON's.
const VALUES: [&str; 17] = [
    "0",
    "1",
    "-1",
    "1.5",
    "-0.0",
    "1e19",
    "1e400",
    "1023",
    "1024",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
];

/// What separates events, elements or the lines of a head.
const SEPARATORS: [&[u8]; 6] = [b"\n", b"\n\n", b"\r\n\r\n", b"\r", b",", b""];

/// A changed input, or nothing where there was nothing to change.
pub(crate) fn mutate(input: &[u8], seed: u64) -> Option<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(seed);
    let (head, body) = input.split_at_checked(HEAD)?;
    let tokens = tokens(body);
    let lines = lines(body);
    let (at, new): (Range<usize>, Vec<u8>) = match random.random_range(0..8) {
        0 | 1 => (any(&tokens, &mut random, true, body)?, TEXTS.choose(&mut random)?.as_bytes().to_vec()),
        2 | 3 => (any(&tokens, &mut random, false, body)?, VALUES.choose(&mut random)?.as_bytes().to_vec()),
        // A word of the input in the place of another: names that another member has, values of another type.
        4 => (tokens.choose(&mut random)?.clone(), body[tokens.choose(&mut random)?.clone()].to_vec()),
        5 => {
            // An event once more, here or elsewhere.
            let end = lines.choose(&mut random)?.end;
            (end..end, [SEPARATORS.choose(&mut random)?, &body[lines.choose(&mut random)?.clone()]].concat())
        }
        6 => (lines.choose(&mut random)?.clone(), Vec::new()),
        _ => {
            // Cut where a line begins, or a little behind it.
            let at = lines.choose(&mut random)?.start + random.random_range(0..4);
            let [high, low] = u16::try_from(at).ok()?.to_be_bytes();
            return Some([&head[..2], &[high, low], &head[4..], body].concat());
        }
    };
    Some([head, &body[..at.start], &new, &body[at.end..]].concat())
}

/// One of the strings, or one of what is no string.
fn any(tokens: &[Range<usize>], random: &mut SmallRng, of_strings: bool, body: &[u8]) -> Option<Range<usize>> {
    let is_string = |token: &&Range<usize>| token.start > 0 && body[token.start - 1] == b'"';
    let fitting: Vec<_> = tokens.iter().filter(|token| is_string(token) == of_strings).collect();
    fitting.choose(random).map(|token| (*token).clone())
}

/// The contents of strings, and numbers and words outside of them.
fn tokens(body: &[u8]) -> Vec<Range<usize>> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < body.len() {
        if body[at] == b'"' {
            at += 1;
            let start = at;
            while at < body.len() && body[at] != b'"' {
                at += 1 + usize::from(body[at] == b'\\');
            }
            at = at.min(body.len());
            tokens.push(start..at);
            at += 1;
        } else if is_word(&body[at]) {
            let start = at;
            at += body[at..].iter().take_while(|byte| is_word(byte)).count();
            tokens.push(start..at);
        } else {
            at += 1;
        }
    }
    tokens
}

fn lines(body: &[u8]) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut lines = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        if !line.is_empty() {
            lines.push(start..start + line.len());
        }
        start += line.len() + 1;
    }
    lines
}
