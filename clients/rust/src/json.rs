//! Messages in proto3's JSON form, with the contract's own names.

use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;

/// Why a message has no JSON form, or a text is no message.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(tollgate_proto::FILE_DESCRIPTOR_SET).ok());

fn descriptor(name: &str) -> Result<MessageDescriptor, JsonError> {
    let found = POOL.as_ref().and_then(|pool| pool.get_message_by_name(name));
    found.ok_or_else(|| JsonError(format!("the contract has no message {name}")))
}

fn dynamic<M: Message + Name>(message: &M) -> Result<DynamicMessage, JsonError> {
    let mut dynamic = DynamicMessage::new(descriptor(&M::full_name())?);
    dynamic.transcode_from(message).map_err(told)?;
    Ok(dynamic)
}

fn told(error: impl ToString) -> JsonError {
    JsonError(error.to_string())
}

/// A message as JSON. Fields of their default value are left out.
pub fn to_value<M: Message + Name>(message: &M) -> Result<Value, JsonError> {
    serde_json::to_value(dynamic(message)?).map_err(told)
}

/// A message as JSON text on one line.
pub fn to_string<M: Message + Name>(message: &M) -> Result<String, JsonError> {
    serde_json::to_string(&dynamic(message)?).map_err(told)
}

/// A message from JSON.
pub fn from_value<M: Message + Name + Default>(value: Value) -> Result<M, JsonError> {
    let dynamic = DynamicMessage::deserialize(descriptor(&M::full_name())?, value).map_err(told)?;
    dynamic.transcode_to().map_err(told)
}

/// A message from JSON text.
pub fn from_str<M: Message + Name + Default>(text: &str) -> Result<M, JsonError> {
    let mut text = serde_json::Deserializer::from_str(text);
    let dynamic = DynamicMessage::deserialize(descriptor(&M::full_name())?, &mut text).map_err(told)?;
    text.end().map_err(told)?;
    dynamic.transcode_to().map_err(told)
}
