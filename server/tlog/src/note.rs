//! C2SP signed notes with Ed25519: a text, and lines that sign it.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};

/// The byte that says Ed25519 in keys and in their hashes.
const ALGORITHM: u8 = 1;
/// What a signature's line begins with.
const SIGNATURE: &str = "\u{2014} ";
/// A note with more is refused.
const MAX_SIGNATURES: usize = 100;

/// Why a key cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is no verifier key.
    #[error("no verifier key: it must read <name>+<8 hexadecimal digits>+<base64>, as `tollgate audit key` prints it")]
    NotAVerifierKey,
    /// It is no private key.
    #[error(
        "no signing key: it must be PRIVATE+KEY+<name>+<8 hexadecimal digits>+<base64>, or a seed of 64 hexadecimal digits"
    )]
    NotASigningKey,
    /// Its hash is another key's.
    #[error("the hash in the key is not that of its name and key: it was changed or mistyped")]
    WrongHash,
    /// It signs in another way.
    #[error("the key is none of Ed25519 (first byte 1)")]
    NotEd25519,
    /// A name must not hold these.
    #[error("the key's name {0:?} is empty, or holds a plus sign, a space or a control character")]
    BadName(String),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a new key")]
    NoRandomness,
}

fn check_name(name: &str) -> Result<(), KeyError> {
    let bad = name.is_empty() || name.contains(|c: char| c == '+' || c.is_whitespace() || c.is_control());
    if bad { Err(KeyError::BadName(name.into())) } else { Ok(()) }
}

fn key_id(name: &str, public: &[u8]) -> u32 {
    let hashed = [name.as_bytes(), b"\n", &[ALGORITHM], public].concat();
    let hash = digest(&SHA256, &hashed);
    hash.as_ref().iter().take(4).fold(0, |id, byte| id << 8 | u32::from(*byte))
}

/// The public half of a key, which anybody may have.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    public: [u8; 32],
}

impl VerifierKey {
    fn new(name: &str, public: [u8; 32]) -> Self {
        Self { name: name.into(), id: key_id(name, &public), public }
    }

    /// Its name: the deployment's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of its hash.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether it signed these bytes so.
    pub fn signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public).verify(bytes, signature).is_ok()
    }
}

/// As signed notes write it: `<name>+<hash>+<base64>`.
impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:08x}+{}", self.name, self.id, keyed(&self.public))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, id, public) = key_parts(text.trim()).ok_or(KeyError::NotAVerifierKey)?;
        let key = Self::new(name, key_bytes(&public)?);
        check_name(name)?;
        if key.id == id { Ok(key) } else { Err(KeyError::WrongHash) }
    }
}

/// `<name>+<hash>+<base64>` in its parts.
fn key_parts(text: &str) -> Option<(&str, u32, Vec<u8>)> {
    let (name, rest) = text.split_once('+')?;
    // Base64 has plus signs of its own: only the first two divide.
    let (id, key) = rest.split_once('+')?;
    let id = u32::from_str_radix(id, 16).ok().filter(|_| id.len() == 8)?;
    Some((name, id, STANDARD.decode(key).ok()?))
}

fn key_bytes(keyed: &[u8]) -> Result<[u8; 32], KeyError> {
    match keyed.split_first() {
        Some((&ALGORITHM, key)) => key.try_into().map_err(|_| KeyError::NotEd25519),
        _ => Err(KeyError::NotEd25519),
    }
}

fn keyed(key: &[u8; 32]) -> String {
    STANDARD.encode([&[ALGORITHM], &key[..]].concat())
}

/// The private half of a key. Its `Debug` and `Display` do not show it.
pub struct SigningKey {
    verifier: VerifierKey,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// The key of this seed, with the deployment's name.
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Result<Self, KeyError> {
        check_name(name)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::NotASigningKey)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::NotASigningKey)?;
        Ok(Self { verifier: VerifierKey::new(name, public), seed, pair })
    }

    /// A new key.
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| KeyError::NoRandomness)?;
        Self::from_seed(name, seed)
    }

    /// Reads a private key of signed notes, or a seed in hexadecimal digits, which gets `name`.
    pub fn parse(text: &str, name: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if let Some(seed) = seed_of_hex(text) {
            return Self::from_seed(name, seed);
        }
        let parts = text.strip_prefix("PRIVATE+KEY+").and_then(key_parts);
        let (own_name, id, seed) = parts.ok_or(KeyError::NotASigningKey)?;
        let key = Self::from_seed(own_name, key_bytes(&seed)?)?;
        if key.verifier.id == id { Ok(key) } else { Err(KeyError::WrongHash) }
    }

    /// The private key as signed notes write it. Whoever has it can sign: it belongs into a file that only the gateway reads.
    pub fn reveal(&self) -> String {
        format!("PRIVATE+KEY+{}+{:08x}+{}", self.verifier.name, self.verifier.id, keyed(&self.seed))
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs bytes: 64 bytes.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(bytes).as_ref().to_vec()
    }

    /// Signs a text, which ends with a line feed, as a note.
    pub fn sign_note(&self, text: &str) -> String {
        let signature = [&self.verifier.id.to_be_bytes(), &self.sign(text.as_bytes())[..]].concat();
        format!("{text}\n{SIGNATURE}{} {}\n", self.verifier.name, STANDARD.encode(signature))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifier)
    }
}

fn seed_of_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut seed = [0; 32];
    for (byte, digits) in seed.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(seed)
}

/// Why a note is none, or is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It has not the form of one.
    #[error("no signed note: {0}")]
    Malformed(&'static str),
    /// None of the keys signed it.
    #[error("no key that is trusted signed it; it is signed by {signers}")]
    WrongKey {
        /// Names and hashes of the keys that its lines name.
        signers: String,
    },
    /// A line names a trusted key, and is not its signature.
    #[error("the signature of {key} does not fit the text: one of them was changed")]
    BadSignature {
        /// Name and hash of the key.
        key: String,
    },
}

/// A signed note, read and not yet believed.
#[derive(Clone, Debug)]
pub struct Note {
    text: String,
    signatures: Vec<(String, u32, Vec<u8>)>,
}

impl Note {
    /// Reads a note.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        let odd = note.contains(|c: char| c.is_ascii_control() && c != '\n');
        let at = note.rfind("\n\n").filter(|_| note.ends_with('\n') && !odd);
        let at = at.ok_or(NoteError::Malformed("a text, an empty line and lines of signatures are expected"))?;
        let (text, lines) = (&note[..=at], &note[at + 2..]);
        let signatures: Option<Vec<_>> = lines.lines().map(signature).collect();
        match signatures {
            Some(signatures) if (1..=MAX_SIGNATURES).contains(&signatures.len()) => {
                Ok(Self { text: text.into(), signatures })
            }
            _ => Err(NoteError::Malformed("a line behind the text is no signature")),
        }
    }

    /// Its text, and which of these keys signed it.
    pub fn open<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a VerifierKey>,
    ) -> Result<(&str, &'a VerifierKey), NoteError> {
        for key in keys {
            let mut own = self.signatures.iter().filter(|(name, id, _)| *name == key.name && *id == key.id);
            if let Some((_, _, signature)) = own.next() {
                if own.next().is_none() && key.signed(self.text.as_bytes(), signature) {
                    return Ok((&self.text, key));
                }
                return Err(NoteError::BadSignature { key: format!("{}+{:08x}", key.name, key.id) });
            }
        }
        let signers: Vec<_> = self.signatures.iter().map(|(name, id, _)| format!("{name}+{id:08x}")).collect();
        Err(NoteError::WrongKey { signers: signers.join(", ") })
    }

    /// Its text, whoever signed it.
    pub fn text_unchecked(&self) -> &str {
        &self.text
    }
}

fn signature(line: &str) -> Option<(String, u32, Vec<u8>)> {
    let (name, signed) = line.strip_prefix(SIGNATURE)?.split_once(' ')?;
    check_name(name).ok()?;
    let signed = STANDARD.decode(signed).ok()?;
    let (id, signature) = signed.split_first_chunk::<4>()?;
    Some((name.into(), u32::from_be_bytes(*id), signature.to_vec()))
}
