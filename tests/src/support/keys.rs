//! Virtual keys as configuration wants them: `tg-`, 32 random characters, and a checksum over those.

use rand::Rng;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new virtual key with a valid checksum.
pub fn virtual_key() -> String {
    let mut random = rand::rng();
    let secret: String = (0..32).map(|_| char::from(ALPHABET[random.random_range(0..62)])).collect();
    with_checksum(&secret)
}

/// The virtual key of this secret: the CRC-32 of its bytes follows as six base62 digits, most significant first.
pub fn with_checksum(secret: &str) -> String {
    let mut rest = crc32(secret.as_bytes());
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    format!("tg-{secret}{}", String::from_utf8_lossy(&digits))
}

/// CRC-32 as in IEEE 802.3 (reflected, polynomial 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| {
        if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }
    };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_well_known_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_key_has_its_prefix_and_length() {
        let key = virtual_key();
        assert_eq!(key.len(), 3 + 32 + 6);
        assert_eq!(with_checksum(&key[3..35]), key);
    }
}
