use std::ops::Range;

/// The longest record that a bundle can hold.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// Why bytes are no bundle, or a record fits into none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It is longer than the two bytes of its length can say.
    #[error("a record of {0} bytes is longer than {MAX_ENTRY_BYTES}; shorten its metadata")]
    TooLong(usize),
    /// The bytes end within a record.
    #[error("the bundle ends within its record {0}, counted from 1")]
    Torn(usize),
}

/// Puts a record behind those of a bundle: its length in two bytes, the greater first, and its bytes.
pub fn append_entry(bundle: &mut Vec<u8>, record: &[u8]) -> Result<(), BundleError> {
    let length = u16::try_from(record.len()).map_err(|_| BundleError::TooLong(record.len()))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(record);
    Ok(())
}

/// Where the records of a bundle lie within its bytes; with those before the damage, where it is torn.
pub fn split_bundle(bundle: &[u8]) -> (Vec<Range<usize>>, Result<(), BundleError>) {
    let (mut at, mut records) = (0, Vec::with_capacity(256));
    while at < bundle.len() {
        let torn = BundleError::Torn(records.len() + 1);
        let Some([high, low]) = bundle.get(at..at + 2) else { return (records, Err(torn)) };
        let begin = at + 2;
        let end = begin + usize::from(u16::from_be_bytes([*high, *low]));
        if end > bundle.len() {
            return (records, Err(torn));
        }
        records.push(begin..end);
        at = end;
    }
    (records, Ok(()))
}
