//! The labels that callers give.

/// What the tags of a call, a file or a batch have to be.
pub const TAGS_FIT: &str = "must be at most 32 tags of 1 to 128 bytes";

/// Whether they are.
pub fn tags_fit(tags: &[String]) -> bool {
    tags.len() <= 32 && tags.iter().all(|tag| (1..=128).contains(&tag.len()))
}
