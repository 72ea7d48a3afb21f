//! Where a call names URLs, and bytes in their place.

use tollgate_proto::v1::{CompletionRequest, Part, part::Content};

use super::media::Media;

/// A part of a call that names a URL.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    message: usize,
    part: usize,
    /// Inside a tool's result.
    inner: Option<usize>,
    pub(super) is_image: bool,
    pub(super) url: &'a str,
}

/// Every URL of a call, in order.
pub(super) fn named(request: &CompletionRequest) -> impl Iterator<Item = Named<'_>> {
    request.messages.iter().enumerate().flat_map(|(i, message)| {
        message.parts.iter().enumerate().flat_map(move |(j, part)| {
            let results = match &part.content {
                Some(Content::ToolResult(result)) => result.content.as_slice(),
                _ => &[],
            };
            let inner = results.iter().enumerate().filter_map(move |(k, inner)| of(inner, i, j, Some(k)));
            of(part, i, j, None).into_iter().chain(inner)
        })
    })
}

fn of(part: &Part, message: usize, at: usize, inner: Option<usize>) -> Option<Named<'_>> {
    let (is_image, url) = match part.content.as_ref()? {
        Content::Image(image) => (true, image.url.as_deref()?),
        // Its bytes, where it has any, come before its URL.
        Content::File(file) if file.data.is_none() => (false, file.url.as_deref()?),
        _ => return None,
    };
    Some(Named { message, part: at, inner, is_image, url })
}

impl Named<'_> {
    /// Its path, as the caller's dialect spells it.
    pub(super) fn path(&self) -> String {
        let inner = self.inner.map(|k| format!("[{k}]")).unwrap_or_default();
        let member = if self.is_image { "image_url" } else { "file.file_url" };
        format!("messages[{}].content[{}]{inner}.{member}", self.message, self.part)
    }

    /// Puts bytes in its place, in a copy of the call that it was found in.
    pub(super) fn replace(&self, request: &mut CompletionRequest, media: Media) {
        let part = request.messages.get_mut(self.message).and_then(|message| message.parts.get_mut(self.part));
        let part = match (part, self.inner) {
            (Some(Part { content: Some(Content::ToolResult(result)), .. }), Some(k)) => result.content.get_mut(k),
            (part, _) => part,
        };
        match part.and_then(|part| part.content.as_mut()) {
            Some(Content::Image(image)) => {
                (image.url, image.data, image.media_type) = (None, Some(media.data), Some(media.kind));
            }
            Some(Content::File(file)) => {
                (file.url, file.data, file.media_type) = (None, Some(media.data), Some(media.kind));
                if file.filename.is_none() {
                    file.filename = name(self.url);
                }
            }
            _ => {}
        }
    }
}

/// The last segment of a URL's path: some providers want a file to have a name.
fn name(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    url.path_segments()?.next_back().filter(|name| !name.is_empty()).map(str::to_owned)
}
