//! Messages that do not come as they should: those that tonic cannot read, and uploads that break.

use tollgate_domain::{Error, Retry};
use tollgate_proto::v1::ErrorReason;
use tonic::{Code, Status};

/// What is wrong with a message that tonic could not read, where `field` is what callers call it. `None`: it refuses something else.
pub(super) fn unread(refusal: &Status, field: &str) -> Option<Error> {
    match refusal.code() {
        Code::OutOfRange => Some(Error::new(ErrorReason::RequestTooLarge, refusal.message())),
        // Lines that break are as internal to tonic, and tell of no decoding error.
        Code::Internal if refusal.message().contains("decode") => {
            Some(Error::invalid_field(field, format!("the message cannot be read: {}", refusal.message())))
        }
        _ => None,
    }
}

/// An upload whose next part is an error.
pub(super) fn broken(told: Status) -> Error {
    unread(&told, "part").unwrap_or_else(|| given_up(told.message()))
}

/// An upload that ended before its end.
pub(super) fn given_up(why: &str) -> Error {
    Error::new(ErrorReason::Cancelled, format!("the upload broke: {why}")).retry(Retry::Later)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::StreamExt;
    use http_body_util::Full;
    use tollgate_proto::v1::CreateFileRequest;
    use tonic::{Streaming, codec::Codec};
    use tonic_prost::ProstCodec;

    use super::*;

    /// What becomes of an upload with this on its line.
    async fn sent(line: &'static [u8]) -> Error {
        let decoder = ProstCodec::<CreateFileRequest, CreateFileRequest>::default().decoder();
        let body = Full::new(Bytes::from_static(line));
        let mut parts = Streaming::<CreateFileRequest>::new_request(decoder, body, None, Some(1_000));
        broken(parts.next().await.unwrap().unwrap_err())
    }

    #[tokio::test]
    async fn an_upload_that_cannot_be_read_is_told_so_and_is_not_to_be_repeated() {
        // A flag of no compression, the length, and the message.
        let large = sent(&[0, 0, 0, 4, 0]).await;
        assert_eq!((large.reason, large.retry), (ErrorReason::RequestTooLarge, Retry::Never));
        let unreadable = sent(&[0, 0, 0, 0, 2, 0xff, 0xff]).await;
        assert_eq!((unreadable.reason, unreadable.retry), (ErrorReason::InvalidField, Retry::Never));
        assert_eq!(unreadable.violations[0].field, "part");
        let torn = sent(&[0, 0, 0, 0, 9, 0xff]).await;
        assert_eq!((torn.reason, torn.retry), (ErrorReason::Cancelled, Retry::Later));
        let gone = broken(Status::cancelled("the caller went away"));
        assert_eq!((gone.reason, gone.retry), (ErrorReason::Cancelled, Retry::Later));
    }
}
