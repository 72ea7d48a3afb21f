//! The input of a batch, looked through while it is passed on: no more than a line of it is held at a time.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tollgate_domain::{Error, TAGS_FIT, tags_fit};
use tollgate_pipeline::{Caller, Pipeline, Request};
use tollgate_proto::v1::ErrorReason;
use tollgate_providers::files::{self, Line, LineAsk};
use tollgate_router::Deployment;
use tollgate_store::StoredLines;

use super::{Chunks, ReadLine, ReadLines, failed, labels};

/// Splits bytes that come in pieces of any size into lines.
pub(super) struct Lines {
    chunks: Chunks,
    buffer: BytesMut,
    /// So much of the buffer has no end of a line.
    searched: usize,
    max_bytes: usize,
    /// Runs over all that came.
    hash: Sha256,
}

impl Lines {
    pub(super) fn new(chunks: Chunks, max_bytes: usize) -> Self {
        Self { chunks, buffer: BytesMut::new(), searched: 0, max_bytes, hash: Sha256::new() }
    }

    /// The next line that is not blank, without its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            let line = match found {
                Some(at) => Some(self.buffer.split_to(self.searched + at + 1)),
                None => {
                    self.searched = self.buffer.len();
                    if self.buffer.len() > self.max_bytes {
                        let message = format!(
                            "a line is larger than {} bytes, the gateway's limit for a request (`limits.max_body_bytes`)",
                            self.max_bytes
                        );
                        return Err(Error::new(ErrorReason::RequestTooLarge, message));
                    }
                    match self.chunks.next().await {
                        Some(chunk) => {
                            let chunk = chunk?;
                            self.hash.update(&chunk);
                            self.buffer.extend_from_slice(&chunk);
                            None
                        }
                        None if self.buffer.is_empty() => return Ok(None),
                        None => Some(self.buffer.split()),
                    }
                }
            };
            if let Some(line) = line {
                self.searched = 0;
                if !line.trim_ascii().is_empty() {
                    let line = line.freeze();
                    return Ok(Some(line.slice_ref(line.trim_ascii())));
                }
            }
        }
    }
}

impl Lines {
    /// SHA-256 of all bytes, once no line is left.
    pub(super) fn sha256(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

/// What each line of a batch is held against.
pub(super) struct Looking {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) reader: Arc<dyn ReadLines>,
    pub(super) caller: Caller,
    pub(super) model: String,
    pub(super) deployment: Arc<Deployment>,
    /// Of the upload and its key.
    pub(super) tags: Vec<String>,
    /// A hard budget applies.
    pub(super) capped: bool,
    /// What was found so far.
    pub(super) found: Arc<Mutex<StoredLines>>,
}

impl Looking {
    /// The lines as the provider gets them, beginning with the one that was read already.
    pub(super) fn through(
        self,
        first: Option<Bytes>,
        mut lines: Lines,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        async_stream::try_stream! {
            let mut next = first;
            while let Some(line) = next {
                yield self.look_at(&line)?;
                next = lines.next().await?;
            }
            self.found.lock().sha256 = lines.sha256().to_vec();
            if self.found.lock().count == 0 {
                Err(Error::invalid_field("file", "has no lines; a batch has one request in each"))?;
            }
        }
    }

    fn look_at(&self, line: &Bytes) -> Result<Bytes, Error> {
        let mut found = self.found.lock();
        found.count += 1;
        let number = found.count;
        let at = |mut error: Error| {
            for violation in &mut error.violations {
                violation.field = format!("file[{number}].{}", violation.field).trim_end_matches('.').to_owned();
            }
            if !error.violations.is_empty() {
                return Error { metadata: error.metadata, ..Error::invalid(error.violations) };
            }
            error.message = format!("line {number}: {}", error.message);
            error
        };
        let ReadLine { url, model, request, tags, drop_params } = self.reader.read(line).map_err(at)?;
        if model != self.model {
            let message = format!("must be {:?}, as the file has it: all lines of a batch name one model", self.model);
            return Err(at(Error::invalid_field("body.model", message)));
        }
        if let Some(place) = place_of(&tags, tags_fit) {
            return Err(at(Error::invalid_field(place, TAGS_FIT)));
        }
        if let Some(place) = place_of(&tags, |tags| self.is_open_to(tags)) {
            let message = "has a tag that binds and that the deployment of the file lacks; name it with the upload too \
                           (`x-tollgate-tags`, or `tags` in the form)";
            return Err(at(Error::invalid_field(place, message)));
        }
        if number == 1 {
            found.url.clone_from(&url);
        } else if found.url != url {
            let message =
                format!("must be {:?}, as the first line has it: all lines of a batch ask for one thing", found.url);
            return Err(at(Error::invalid_field("url", message)));
        }
        let bound = self.pipeline.line_bound(&self.caller, &self.deployment, &request, self.capped);
        found.bound_nano_usd = found.bound_nano_usd.saturating_add(bound.cost.0);
        drop(found);
        let upstream = &self.deployment.endpoint.target.model;
        let written = self.reader.rewritten(line, upstream, bound.cap).map_err(at)?;
        let asked = match &request {
            Request::Completion(request, _) => Some(LineAsk::Chat(request)),
            Request::Embedding(request) => Some(LineAsk::Embedding(request)),
            Request::Moderation(request) => Some(LineAsk::Moderation(request)),
            _ => None,
        };
        let request = asked.ok_or_else(|| at(Error::invalid_field("url", "is not for batches")))?;
        let drop_params = drop_params.unwrap_or(self.deployment.drop_params);
        let asked = Line { url: &url, request, cap: bound.cap, drop_params, written: &written };
        let said = files::line(&self.deployment.endpoint, &asked);
        let mut written = said.map_err(|failure| at(failed(failure, &self.deployment)))?;
        written.push('\n');
        Ok(written.into())
    }

    /// Whether a line with these tags may be answered where the file goes, by the rule for calls.
    fn is_open_to(&self, tags: &[String]) -> bool {
        if tags.is_empty() {
            return true;
        }
        let tags = labels(self.caller.key(), self.tags.iter().chain(tags).cloned().collect());
        self.pipeline.table().tags.refuse(&tags, &self.deployment.tags).is_none()
    }
}

/// The member with the tags that do not hold; the last, where only all of them together do not. `None`: they do.
fn place_of(tags: &[(String, Vec<String>)], hold: impl Fn(&[String]) -> bool) -> Option<&str> {
    let all: Vec<String> = tags.iter().flat_map(|(_, tags)| tags.iter().cloned()).collect();
    if hold(&all) {
        return None;
    }
    tags.iter().find(|(_, tags)| !hold(tags)).or(tags.last()).map(|(place, _)| place.as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lines(chunks: &[&'static str], max_bytes: usize) -> Lines {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        Lines::new(futures::stream::iter(chunks).boxed(), max_bytes)
    }

    #[tokio::test]
    async fn lines_are_the_same_however_their_bytes_are_cut() {
        for chunks in
            [&["a1\r\n\n  \nb2\nc3"] as &[_], &["a", "1\r", "\n\n  \nb2", "\n", "c", "3"], &["a1\nb2\n", "c3\n"]]
        {
            let mut lines = lines(chunks, 9);
            let mut read = Vec::new();
            while let Some(line) = lines.next().await.unwrap() {
                read.push(String::from_utf8(line.to_vec()).unwrap());
            }
            assert_eq!(read, ["a1", "b2", "c3"], "{chunks:?}");
        }
    }

    #[test]
    fn tags_are_refused_where_they_stand() {
        let placed = |place: &str, tag: &str| (place.to_owned(), vec![tag.to_owned()]);
        let tags = [placed("body.metadata.tags", "pii"), placed("body.tags", "night")];
        assert_eq!(place_of(&tags, |tags| !tags.contains(&"pii".to_owned())), Some("body.metadata.tags"));
        assert_eq!(place_of(&tags, |tags| !tags.contains(&"night".to_owned())), Some("body.tags"));
        assert_eq!(place_of(&tags, |tags| tags.len() < 2), Some("body.tags"), "each holds by itself");
        assert_eq!(place_of(&tags, |_| true), None);
        assert_eq!(place_of(&[], |tags| tags.is_empty()), None);
    }

    #[tokio::test]
    async fn a_line_that_never_ends_is_refused() {
        let mut lines = lines(&["short\n", "123456", "7890", "more"], 9);
        assert!(lines.next().await.unwrap().is_some());
        assert_eq!(lines.next().await.unwrap_err().reason, ErrorReason::RequestTooLarge);
    }
}
