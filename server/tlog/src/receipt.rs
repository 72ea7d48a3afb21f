//! Receipts: what a caller holds against the log.

use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use tollgate_proto::v1::Receipt;

use crate::{Hash, SigningKey, VerifierKey, verify::micros};

/// Why a receipt proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// It is no receipt.
    #[error("no receipt: the base64 of a tollgate.v1.Receipt is expected, as in the header x-tollgate-receipt")]
    Malformed,
    /// A field is missing or cannot be.
    #[error("the receipt's {0} is missing or cannot be; it is no receipt of a gateway")]
    Field(&'static str),
    /// None of the keys signed it.
    #[error("no key that is trusted signed the receipt; it names the key {key_id:08x}")]
    WrongKey {
        /// The key that it names.
        key_id: u32,
    },
    /// A trusted key is named, and did not sign this.
    #[error("the receipt's signature does not fit what it says: one of them was changed")]
    BadSignature,
}

/// Signs a receipt: sets `key_id` and `signature`; the other fields are set already.
pub fn issue_receipt(mut receipt: Receipt, key: &SigningKey) -> Receipt {
    receipt.key_id = key.verifier().id();
    receipt.signature = key.sign(text(&receipt).as_bytes()).into();
    receipt
}

/// As it travels in a header.
pub fn to_base64(receipt: &Receipt) -> String {
    STANDARD.encode(receipt.encode_to_vec())
}

/// Reads one as it travels in a header.
pub fn from_base64(text: &str) -> Result<Receipt, ReceiptError> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| ReceiptError::Malformed)?;
    Receipt::decode(bytes.as_slice()).map_err(|_| ReceiptError::Malformed)
}

/// Whether one of `keys` signed it, and its fields can be.
pub fn check_receipt_signature<'a>(
    receipt: &Receipt,
    keys: impl IntoIterator<Item = &'a VerifierKey>,
) -> Result<(), ReceiptError> {
    if receipt.sequence < 1 {
        return Err(ReceiptError::Field("sequence"));
    }
    if Hash::from_slice(&receipt.leaf_hash).is_none() {
        return Err(ReceiptError::Field("leaf_hash"));
    }
    if !receipt.origin.ends_with(&format!("/{}", receipt.replica)) || receipt.replica.is_empty() {
        return Err(ReceiptError::Field("origin"));
    }
    let key = keys.into_iter().find(|key| key.id() == receipt.key_id);
    let key = key.ok_or(ReceiptError::WrongKey { key_id: receipt.key_id })?;
    if key.signed(text(receipt).as_bytes(), &receipt.signature) { Ok(()) } else { Err(ReceiptError::BadSignature) }
}

fn text(receipt: &Receipt) -> String {
    format!(
        "tollgate.dev/audit/receipt/v1\n{}\n{}\n{}\n{}\n{}\n{}\n",
        receipt.origin,
        receipt.replica,
        receipt.sequence,
        STANDARD.encode(&receipt.leaf_hash),
        micros(receipt.time.as_ref()),
        micros(receipt.merge_by.as_ref()),
    )
}
