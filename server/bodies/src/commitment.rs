use sha2::{Digest as _, Sha256};

/// SHA-256 over a body, piece by piece. It never leaves memory: whoever guesses a short prompt could check the guess.
#[derive(Clone, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// Takes more of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// What stands in the log: SHA-256 over `0x02`, the salt and the SHA-256 of the body. The body's own hash goes in, so that the salt need not be
/// known before the body has passed: an upload comes before it is known whose it is.
pub fn commitment(salt: &[u8; 32], digest: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([2]).chain_update(salt).chain_update(digest).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(salt: u8, body: &[&[u8]]) -> [u8; 32] {
        let mut digest = Digest::default();
        body.iter().for_each(|piece| digest.update(piece));
        commitment(&[salt; 32], &digest.finish())
    }

    #[test]
    fn a_commitment_binds_the_body_and_hides_it_behind_its_salt() {
        assert_eq!(of(1, &[b"a prompt"]), of(1, &[b"a ", b"prompt"]), "however it came in pieces");
        assert_ne!(of(1, &[b"a prompt"]), of(1, &[b"another"]));
        assert_ne!(of(1, &[b"a prompt"]), of(2, &[b"a prompt"]), "a guess cannot be checked without the salt");
    }

    #[test]
    fn a_commitment_is_computed_as_documented() {
        // printf of the bytes through `sha256sum`, twice: what an auditor without this code would do.
        let hex: String = of(0, &[b"abc"]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "144fb9be067e7c1f768a1df3ec8e704a45b5156854aa5dcdaf7171dfe2021e44");
    }
}
