//! A body as it is kept: `1`, the data key encrypted under the subject's key (72 bytes), then the body, compressed and encrypted under the data
//! key. Both are bound to the call.

use std::io::Read;

use zeroize::Zeroizing;

use crate::{
    Kek, Unreadable,
    key::{NONCE, open, open32, random32, seal},
};

/// A body is never longer than this when it is opened, in bytes: what says otherwise is refused before it fills the memory.
pub const MOST: u64 = 64 << 20;

const VERSION: u8 = 1;
/// A nonce, 32 bytes, a tag.
const WRAPPED: usize = NONCE + 32 + 16;
/// Bodies are text: the fastest level halves them and costs a few milliseconds per MiB.
const LEVEL: i32 = 1;

fn aad(what: &str, kek_id: &str, call_id: &str) -> Vec<u8> {
    [b"tollgate body v1\0", what.as_bytes(), b"\0", kek_id.as_bytes(), b"\0", call_id.as_bytes()].concat()
}

impl Kek {
    /// Compresses `body` and encrypts it for this call, under a data key of its own.
    pub fn seal(&self, call_id: &str, body: &[u8]) -> Result<Vec<u8>, Unreadable> {
        if body.len() as u64 > MOST {
            return Err(Unreadable::TooLong);
        }
        let short = zstd::bulk::compress(body, LEVEL).map(Zeroizing::new).map_err(|_| Unreadable::TooLong)?;
        let data_key = random32();
        let wrapped = seal(&self.key, &aad("key", &self.id, call_id), &*data_key)?;
        let text = seal(&data_key, &aad("text", &self.id, call_id), &short)?;
        Ok([&[VERSION][..], &wrapped, &text].concat())
    }

    /// The body, if this is the key and `call_id` the call that it was sealed for.
    pub fn open(&self, call_id: &str, sealed: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let (version, rest) = sealed.split_first().ok_or(Unreadable::Damaged)?;
        if *version != VERSION {
            return Err(Unreadable::Version);
        }
        let (wrapped, text) = rest.split_at_checked(WRAPPED).ok_or(Unreadable::Damaged)?;
        let data_key = open32(&self.key, &aad("key", &self.id, call_id), wrapped)?;
        let short = open(&data_key, &aad("text", &self.id, call_id), text)?;
        let reader = zstd::stream::read::Decoder::with_buffer(&short[..]).map_err(|_| Unreadable::Damaged)?;
        let mut body = Vec::new();
        reader.take(MOST + 1).read_to_end(&mut body).map_err(|_| Unreadable::Damaged)?;
        if body.len() as u64 > MOST { Err(Unreadable::TooLong) } else { Ok(body) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Root;

    fn kek(id: &str) -> Kek {
        Root::new(b"secret").make(id)
    }

    #[test]
    fn a_body_opens_for_its_call_and_under_its_key_alone() {
        let kek = kek("kek_1");
        let sealed = kek.seal("call_1", b"a prompt").unwrap();
        assert_eq!(kek.open("call_1", &sealed).unwrap(), b"a prompt");
        assert_eq!(kek.open("call_2", &sealed), Err(Unreadable::Damaged), "it cannot stand in for another call's");
        assert_eq!(self::kek("kek_1").open("call_1", &sealed), Err(Unreadable::Damaged));
    }

    #[test]
    fn the_same_body_is_never_the_same_text_twice() {
        let kek = kek("kek_1");
        assert_ne!(kek.seal("call_1", b"a prompt").unwrap(), kek.seal("call_1", b"a prompt").unwrap());
    }

    #[test]
    fn a_body_takes_less_room_than_it_has() {
        let body = "the same words again and again, ".repeat(1_000);
        assert!(kek("k").seal("c", body.as_bytes()).unwrap().len() < body.len() / 10);
    }

    #[test]
    fn a_bomb_is_refused_before_it_fills_the_memory() {
        let (kek, zeros) = (kek("k"), vec![0; MOST as usize + 1]);
        assert_eq!(kek.seal("c", &zeros), Err(Unreadable::TooLong));
        // As an attacker who has the key would make it.
        let short = zstd::bulk::compress(&zeros, LEVEL).unwrap();
        let data_key = random32();
        let wrapped = seal(&kek.key, &aad("key", "k", "c"), &*data_key).unwrap();
        let text = seal(&data_key, &aad("text", "k", "c"), &short).unwrap();
        let sealed = [&[VERSION][..], &wrapped, &text].concat();
        assert_eq!(kek.open("c", &sealed), Err(Unreadable::TooLong));
    }

    #[test]
    fn what_a_later_version_wrote_is_told_apart_from_damage() {
        let kek = kek("k");
        let mut sealed = kek.seal("c", b"a prompt").unwrap();
        sealed[0] = 2;
        assert_eq!(kek.open("c", &sealed), Err(Unreadable::Version));
        assert_eq!(kek.open("c", &[]), Err(Unreadable::Damaged));
        assert_eq!(kek.open("c", &[VERSION; 20]), Err(Unreadable::Damaged));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_what_is_changed_does_not(
            body in proptest::collection::vec(any::<u8>(), 0..2_000), at in any::<prop::sample::Index>(), bit in 0..8u8
        ) {
            let kek = kek("k");
            let mut sealed = kek.seal("c", &body).unwrap();
            prop_assert_eq!(kek.open("c", &sealed).unwrap(), body);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(kek.open("c", &sealed).is_err());
        }
    }
}
