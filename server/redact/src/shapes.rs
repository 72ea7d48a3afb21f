//! The shapes, as data. A row that is too wide hides what people must read; one that is too narrow, nothing.

/// Which bytes a key is made of.
#[derive(Clone, Copy)]
pub(crate) enum Alphabet {
    /// Letters and digits.
    Plain,
    /// With `-` and `_`.
    Url,
    /// With `.` too.
    Dotted,
    /// With `/`, `+` and `=` too.
    Base64,
    /// Hexadecimal digits.
    Hex,
}

impl Alphabet {
    pub(crate) fn has(self, byte: u8) -> bool {
        match self {
            Self::Plain => byte.is_ascii_alphanumeric(),
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Self::Dotted => Self::Url.has(byte) || byte == b'.',
            Self::Base64 => Self::Dotted.has(byte) || matches!(byte, b'/' | b'+' | b'='),
            Self::Hex => byte.is_ascii_hexdigit(),
        }
    }
}

/// A key that says what it is.
pub(crate) struct Key {
    /// How it begins.
    pub(crate) prefix: &'static str,
    /// So many characters follow at least, a digit among them.
    pub(crate) least: usize,
    pub(crate) alphabet: Alphabet,
}

const fn key(prefix: &'static str, least: usize, alphabet: Alphabet) -> Key {
    Key { prefix, least, alphabet }
}

use Alphabet::{Base64, Dotted, Hex, Plain, Url};

/// Keys by their prefix.
pub(crate) const KEYS: &[Key] = &[
    // Tollgate's own.
    key("tg-", 30, Plain),
    // Providers of models: OpenAI, Anthropic, OpenRouter, DeepSeek, LiteLLM and Langfuse all begin with `sk-`.
    key("sk-", 16, Url),
    key("sess-", 24, Url),
    key("AIza", 30, Url),
    key("AQ.", 30, Url),
    key("gsk_", 20, Plain),
    key("xai-", 20, Url),
    key("hf_", 20, Plain),
    key("r8_", 20, Plain),
    key("pplx-", 20, Url),
    key("nvapi-", 20, Url),
    key("fw_", 20, Plain),
    key("csk-", 20, Url),
    key("tgp_v1_", 20, Url),
    key("jina_", 20, Url),
    key("pa-", 30, Url),
    key("bedrock-api-key-", 20, Base64),
    key("ABSK", 40, Base64),
    // Clouds.
    key("AKIA", 16, Plain),
    key("ASIA", 16, Plain),
    key("ya29.", 20, Dotted),
    key("GOCSPX-", 16, Url),
    key("dop_v1_", 20, Hex),
    key("LTAI", 12, Plain),
    key("dapi", 30, Hex),
    // Code and packages.
    key("ghp_", 20, Plain),
    key("gho_", 20, Plain),
    key("ghu_", 20, Plain),
    key("ghs_", 20, Plain),
    key("ghr_", 20, Plain),
    key("github_pat_", 20, Url),
    key("glpat-", 16, Dotted),
    key("npm_", 20, Plain),
    key("pypi-", 20, Url),
    key("rubygems_", 20, Hex),
    key("dckr_pat_", 16, Url),
    key("ATATT3", 20, Base64),
    // Services.
    key("xoxb-", 16, Url),
    key("xoxp-", 16, Url),
    key("xoxa-", 16, Url),
    key("xapp-", 16, Url),
    key("hooks.slack.com/services/", 16, Base64),
    key("SG.", 30, Dotted),
    key("sk_live_", 12, Plain),
    key("sk_test_", 12, Plain),
    key("rk_live_", 12, Plain),
    key("whsec_", 16, Base64),
    key("key-", 32, Hex),
    key("shpat_", 20, Hex),
    key("hvs.", 20, Url),
    key("dp.pt.", 20, Plain),
    key("lin_api_", 20, Plain),
    key("glsa_", 20, Url),
    key("pul-", 30, Hex),
    key("tskey-", 16, Url),
    key("figd_", 20, Url),
    key("sntrys_", 20, Base64),
    key("sbp_", 20, Hex),
    key("sq0atp-", 16, Url),
    key("ntn_", 20, Plain),
    key("phc_", 20, Plain),
    key("AGE-SECRET-KEY-1", 30, Plain),
];

/// Whose value is a secret.
pub(crate) enum Named {
    /// By the whole name.
    Exactly(&'static [u8]),
    /// By how the name ends.
    EndsIn(&'static [u8]),
    /// A scheme of authorization, with the secret behind a space.
    Scheme(&'static [u8]),
}

impl Named {
    fn ends(&self) -> bool {
        matches!(self, Self::EndsIn(_))
    }

    /// Whether this is the name, in lower case with `_` for `-`.
    pub(crate) fn is(&self, name: &[u8]) -> bool {
        let (Self::Exactly(known) | Self::Scheme(known) | Self::EndsIn(known)) = self;
        // The last byte tells most of them apart, at the price of a comparison in place.
        known.last() == name.last() && name.ends_with(known) && (self.ends() || name.len() == known.len())
    }
}

use Named::{EndsIn, Exactly, Scheme};

/// Names of secrets.
pub(crate) const ASSIGNED: &[Named] = &[
    Scheme(b"bearer"),
    Scheme(b"basic"),
    EndsIn(b"password"),
    EndsIn(b"passwd"),
    EndsIn(b"passphrase"),
    EndsIn(b"secret"),
    EndsIn(b"api_key"),
    EndsIn(b"apikey"),
    EndsIn(b"access_key"),
    EndsIn(b"secret_key"),
    EndsIn(b"private_key"),
    EndsIn(b"accountkey"),
    EndsIn(b"sharedaccesskey"),
    EndsIn(b"access_token"),
    EndsIn(b"refresh_token"),
    EndsIn(b"auth_token"),
    EndsIn(b"session_token"),
    EndsIn(b"security_token"),
    EndsIn(b"id_token"),
    Exactly(b"pwd"),
    Exactly(b"token"),
    Exactly(b"sig"),
    EndsIn(b"signature"),
];
