//! Virtual keys as text: `tg-`, 32 random base62 characters, and 6 of checksum.
//!
//! The prefix lets scanners find leaked keys; the checksum lets them, and us, tell a key from noise without a look-up.

use rand::{Rng, RngCore};
use tollgate_domain::Secret;

const PREFIX: &str = "tg-";
const RANDOM: usize = 32;
const CHECK: usize = 6;
/// How keys begin that LiteLLM issued.
const FOREIGN_PREFIX: &str = "sk-";
const FOREIGN_MOST: usize = 256;
/// What somebody must choose at least for a secret of their own: characters behind the prefix, and different ones among them.
const CHOSEN_LEAST: usize = 16;
const CHOSEN_DIFFERENT: usize = 8;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A well-formed virtual key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySecret(Secret);

impl KeySecret {
    /// A new key; 190 bits of it are random.
    pub fn generate(rng: &mut impl RngCore) -> Self {
        let random: String = (0..RANDOM).map(|_| char::from(BASE62[rng.random_range(0..62)])).collect();
        let check = checksum(&random);
        Self(Secret::new(format!("{PREFIX}{random}{check}")))
    }

    /// The key that `text` spells, if it has our form and its checksum is right.
    pub fn parse(text: &str) -> Option<Self> {
        let body = text.strip_prefix(PREFIX)?;
        if body.len() != RANDOM + CHECK || !body.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let (random, check) = body.split_at(RANDOM);
        (checksum(random) == check).then(|| Self(Secret::new(text)))
    }

    /// The key of another gateway that `text` may spell: such keys have no checksum, so it may be anything that begins like one.
    pub fn parse_foreign(text: &str) -> Option<Self> {
        let fits = text.starts_with(FOREIGN_PREFIX) && text.len() <= FOREIGN_MOST;
        (fits && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(Secret::new(text)))
    }

    /// A secret that somebody chose for a key to be made: of our form, or of another gateway's and not easily guessed. The reason does not
    /// repeat it.
    pub fn chosen(text: &str) -> Result<Self, String> {
        if let Some(secret) = Self::parse(text) {
            return Ok(secret);
        }
        let secret = Self::parse_foreign(text).ok_or_else(|| {
            format!(
                "must be {FOREIGN_PREFIX} and printable ASCII characters, at most {FOREIGN_MOST} in all, or be left out"
            )
        })?;
        let body = &text.as_bytes()[FOREIGN_PREFIX.len()..];
        let different = (0..=u8::MAX).filter(|byte| body.contains(byte)).count();
        if body.len() < CHOSEN_LEAST || different < CHOSEN_DIFFERENT {
            return Err(format!(
                "can be guessed: it needs at least {CHOSEN_LEAST} characters behind {FOREIGN_PREFIX}, {CHOSEN_DIFFERENT} of them different; \
                 leave it out to have one made"
            ));
        }
        Ok(secret)
    }

    /// The text, for whoever it is shown to once.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The first characters, to recognise it by.
    pub fn prefix(&self) -> &str {
        // Of a short one of another gateway, no more than a third.
        let text = self.0.expose();
        &text[..8.min(text.len() / 3).max(PREFIX.len())]
    }
}

/// CRC-32 (IEEE 802.3) in six base62 digits, most significant first.
fn checksum(text: &str) -> String {
    let mut value = crc32fast::hash(text.as_bytes()) as usize;
    let mut digits = [b'0'; CHECK];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[value % 62];
        value /= 62;
    }
    digits.iter().map(|&b| char::from(b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_reads_back_and_any_changed_character_is_noticed() {
        let key = KeySecret::generate(&mut rand::rng());
        assert_eq!(KeySecret::parse(key.expose()), Some(key.clone()));
        for at in 3..key.expose().len() {
            let mut bytes = key.expose().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(KeySecret::parse(std::str::from_utf8(&bytes).unwrap()), None, "changed at {at}");
        }
        assert_eq!(KeySecret::parse("sk-abc"), None);
        assert_eq!(key.prefix(), &key.expose()[..8]);
    }

    #[test]
    fn a_chosen_secret_must_not_be_easily_guessed() {
        for good in ["sk-0123456789abcdef", "sk-legacy-batch-2024-06", KeySecret::generate(&mut rand::rng()).expose()] {
            assert_eq!(KeySecret::chosen(good).unwrap().expose(), good);
        }
        for bad in
            ["", "sk-1234", "sk-aaaaaaaaaaaaaaaaaaaaaaaaaaa", "sk-0123456789abcde", "0123456789abcdefghijk", "tg-short"]
        {
            let why = KeySecret::chosen(bad).unwrap_err();
            assert!(bad.is_empty() || !why.contains(bad), "{why}");
        }
    }

    #[test]
    fn a_key_of_another_gateway_is_visible_text_and_shows_little_of_itself() {
        let prefix = |text: &str| KeySecret::parse_foreign(text).map(|key| key.prefix().to_owned());
        assert_eq!(prefix("sk-1234").as_deref(), Some("sk-"));
        assert_eq!(prefix("sk-0123456789abcdefghijkl").as_deref(), Some("sk-01234"));
        for bad in ["tg-abc", "sk-a b", "sk-\u{e9}", &format!("sk-{}", "x".repeat(254))] {
            assert_eq!(prefix(bad), None, "{bad}");
        }
    }
}
