//! Content that a service does not take: nothing can stand for it, so the call is refused there.

use tollgate_domain::Failure;
use tollgate_proto::v1::{CompletionRequest, Part, part::Content};

use crate::provider::cannot;

/// Content beside text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `image_url` parts.
    Image,
    /// `input_audio` parts.
    Audio,
    /// `file` parts.
    File,
}

impl Media {
    fn of(part: &Part) -> Option<Self> {
        match &part.content {
            Some(Content::Image(_)) => Some(Self::Image),
            Some(Content::Audio(_)) => Some(Self::Audio),
            Some(Content::File(_)) => Some(Self::File),
            _ => None,
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::Image => "images are not taken by this provider",
            Self::Audio => "audio is not taken by this provider",
            Self::File => "files are not taken by this provider",
        }
    }
}

/// Refuses the first part that is not taken.
pub(super) fn check(refused: &[Media], request: &CompletionRequest) -> Result<(), Failure> {
    if refused.is_empty() {
        return Ok(());
    }
    for (i, message) in request.messages.iter().enumerate() {
        for (j, part) in message.parts.iter().enumerate() {
            let inner = match &part.content {
                Some(Content::ToolResult(result)) => result.content.as_slice(),
                _ => &[],
            };
            let mut all = std::iter::once(part).chain(inner).filter_map(Media::of);
            if let Some(media) = all.find(|media| refused.contains(media)) {
                return Err(cannot(&format!("messages[{i}].content[{j}]"), media.why()));
            }
        }
    }
    Ok(())
}
