use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tollgate_domain::Secret;

/// The header that a body's signature goes in.
pub const SIGNATURE: &str = "tollgate-signature";

/// `t=SECONDS,v1=HEX`: HMAC-SHA-256 under `secret` over the seconds since the epoch, a full stop and the body. A receiver that checks the
/// time too cannot be fed an old body anew.
pub fn sign(secret: &Secret, seconds: i64, body: &[u8]) -> String {
    // HMAC takes keys of any length.
    #[allow(clippy::expect_used)]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes any key");
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_over_time_and_body() {
        let signed = sign(&Secret::new("key"), 1_700_000_000, b"[]");
        // printf '1700000000.[]' | openssl dgst -sha256 -hmac key
        assert_eq!(signed, "t=1700000000,v1=2afce10b4f37880815b715635811bcfa4d5334e7213eea5bc2e130e1008055c3");
    }
}
