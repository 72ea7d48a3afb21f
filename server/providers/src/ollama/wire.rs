//! Their types, their names, nothing of ours. Every field may be missing; unknown ones are ignored.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_proto::v1::{InputUsage, OutputUsage, Usage};

use crate::json::Object;

/// A line of a stream, or a whole answer.
#[derive(Deserialize)]
pub(super) struct Line<'a> {
    pub(super) model: Option<String>,
    #[serde(borrow)]
    pub(super) message: Option<Message<'a>>,
    #[serde(default)]
    pub(super) done: bool,
    pub(super) done_reason: Option<String>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    pub(super) prompt_eval_count: Option<u64>,
    pub(super) eval_count: Option<u64>,
}

/// A message, or the next piece of one.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    pub(super) content: Option<String>,
    pub(super) thinking: Option<String>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<ToolCall<'a>>>,
}

/// A whole tool call. Older servers give it no id.
#[derive(Deserialize)]
pub(super) struct ToolCall<'a> {
    pub(super) id: Option<String>,
    #[serde(borrow)]
    pub(super) function: Function<'a>,
}

#[derive(Deserialize)]
pub(super) struct Function<'a> {
    pub(super) name: Option<String>,
    /// An object.
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
}

/// What was counted, in the contract's normal form; `None` where nothing was. A count of none is left out: a prompt that the server
/// still held was not evaluated.
pub(super) fn usage(prompt_eval_count: Option<u64>, eval_count: Option<u64>) -> Option<Usage> {
    if prompt_eval_count.is_none() && eval_count.is_none() {
        return None;
    }
    let mut native = Object::default();
    native.maybe("prompt_eval_count", prompt_eval_count.as_ref()).maybe("eval_count", eval_count.as_ref());
    Some(Usage {
        input: Some(InputUsage { total: prompt_eval_count.unwrap_or(0), ..InputUsage::default() }),
        output: Some(OutputUsage { total: eval_count.unwrap_or(0), ..OutputUsage::default() }),
        estimated: prompt_eval_count.is_none(),
        native_json: Some(native.finish()),
        ..Usage::default()
    })
}
