//! Anthropic's JSON in the contract's nouns, and back.

mod content;
pub(crate) mod error;
pub(crate) mod events;
mod places;
mod proof;
mod request;
pub(crate) mod response;

use tollgate_proto::v1::CompletionRequest;

pub(crate) use self::places::Places;

use crate::openai::{Invalid, Wishes, members};

/// Reads a request for a message, or for the count of its tokens. `original`, `betas` and `tollgate` are left empty.
pub fn read_messages(body: &[u8]) -> Result<CompletionRequest, Invalid> {
    read_messages_with_wishes(body).map(|(request, ..)| request)
}

/// Also tells what the body says to the shim itself, and where its messages went.
pub(crate) fn read_messages_with_wishes(body: &[u8]) -> Result<(CompletionRequest, Wishes, Places), Invalid> {
    request::read(members::text(body)?)
}
