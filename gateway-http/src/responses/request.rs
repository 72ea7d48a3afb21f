//! `POST /v1/responses` as a `CompletionRequest`.

use tollgate_proto::v1::{
    CompletionRequest, JsonObjectFormat, JsonSchemaFormat, Reasoning, ResponseFormat, Role, TextFormat,
    response_format::Format,
};

use super::{input::Turns, input::text_part, tools};
use crate::openai::{
    Invalid,
    members::{Members, items},
    request::seed,
    wishes::Aside,
};

/// What is asked for with the answer, by its word in `include`.
const LOGPROBS: &str = "message.output_text.logprobs";

/// What the body says to the shim itself.
pub(super) struct Wishes {
    pub(super) stream: bool,
    /// Absent means yes, everywhere in this dialect.
    pub(super) store: bool,
    pub(super) tags: Vec<String>,
    pub(super) fallbacks: Vec<String>,
    pub(super) drop_params: Option<bool>,
}

/// Reads a request that stands alone: what it went on from is in its `input`.
pub(super) fn read(body: &str) -> Result<(CompletionRequest, Wishes), Invalid> {
    let mut m = Members::read(body, "")?;
    let wishes = wishes(&mut m)?;
    state(&mut m)?;
    let mut request = CompletionRequest { model: m.take("model")?, ..CompletionRequest::default() };
    let mut turns = Turns::default();
    if let Some(instructions) = m.take::<String>("instructions")? {
        turns.say(Role::System, vec![text_part(instructions)]);
    }
    match m.raw("input") {
        Some(input) => turns.input(input)?,
        // A template of the provider's brings its own.
        None if m.peek("prompt").is_some_and(|prompt| prompt != "null") => {}
        None => return Err(Invalid::at("input", "is required")),
    }
    request.messages = turns.0;
    if let Some(list) = m.raw("tools") {
        for (i, tool) in items(list, "tools")?.into_iter().enumerate() {
            request.tools.push(tools::tool(tool, &format!("tools[{i}]"))?);
        }
    }
    request.tool_choice = m.raw("tool_choice").map(tools::choice).transpose()?;
    request.parallel_tool_calls = m.take("parallel_tool_calls")?;
    request.temperature = m.take("temperature")?;
    request.top_p = m.take("top_p")?;
    request.top_k = m.take("top_k")?;
    request.frequency_penalty = m.take("frequency_penalty")?;
    request.presence_penalty = m.take("presence_penalty")?;
    request.seed = seed(&mut m)?;
    request.max_output_tokens = m.take("max_output_tokens")?;
    request.service_tier_native = m.take("service_tier")?;
    request.user = m.take("user")?;
    logprobs(&mut m, &mut request)?;
    reasoning(&mut m, &mut request)?;
    let verbosity = text(&mut m, &mut request)?;
    // Echoed and kept by the gateway itself.
    m.raw("metadata");
    if m.peek("truncation") == Some("\"disabled\"") {
        m.raw("truncation");
    }
    request.extra_json = with_verbosity(m.rest(), verbosity);
    Ok((request, wishes))
}

fn wishes(m: &mut Members<'_>) -> Result<Wishes, Invalid> {
    let stream = m.take("stream")?.unwrap_or(false);
    m.raw("stream_options");
    let store = m.take("store")?.unwrap_or(true);
    let Aside { tags, fallbacks, drop_params } = Aside::take(m)?;
    Ok(Wishes { stream, store, tags, fallbacks, drop_params })
}

/// State that is not kept here, or not any more.
fn state(m: &mut Members<'_>) -> Result<(), Invalid> {
    if m.take::<bool>("background")? == Some(true) {
        let what = "an original is answered while somebody waits; leave it out";
        return Err(Invalid::at("background", what));
    }
    if m.raw("conversation").is_some() {
        let what = "conversations are not kept under ids of their own; go on with previous_response_id";
        return Err(Invalid::at("conversation", what));
    }
    if m.raw("previous_response_id").is_some() {
        let what = "an original stands alone: what it goes on from belongs in its input (ResponseService has it)";
        return Err(Invalid::at("previous_response_id", what));
    }
    Ok(())
}

fn logprobs(m: &mut Members<'_>, request: &mut CompletionRequest) -> Result<(), Invalid> {
    request.top_logprobs = m.take::<i64>("top_logprobs")?;
    // What else may be included belongs to tools that the provider runs, or comes anyway.
    let include: Vec<String> = m.take("include")?.unwrap_or_default();
    let asked = include.iter().any(|word| word == LOGPROBS) || request.top_logprobs.is_some_and(|n| n > 0);
    request.logprobs = asked.then_some(true);
    request.top_logprobs = request.top_logprobs.filter(|_| asked);
    Ok(())
}

fn reasoning(m: &mut Members<'_>, request: &mut CompletionRequest) -> Result<(), Invalid> {
    let Some(json) = m.raw("reasoning") else { return Ok(()) };
    // Words that may be shown are asked for wherever a provider has them: `summary` adds nothing.
    if let Some(effort) = Members::read(json, "reasoning")?.take::<String>("effort")? {
        request.reasoning = Some(Reasoning { effort_native: Some(effort), budget_tokens: None });
    }
    Ok(())
}

/// The form of the answer; and how much it says, as JSON text.
fn text<'a>(m: &mut Members<'a>, request: &mut CompletionRequest) -> Result<Option<&'a str>, Invalid> {
    let Some(json) = m.raw("text") else { return Ok(None) };
    let mut text = Members::read(json, "text")?;
    if let Some(format) = text.raw("format") {
        request.response_format = Some(ResponseFormat { format: Some(read_format(format)?) });
    }
    Ok(text.raw("verbosity"))
}

fn read_format(json: &str) -> Result<Format, Invalid> {
    let mut m = Members::read(json, "text.format")?;
    Ok(match m.take::<String>("type")?.as_deref() {
        Some("text") => Format::Text(TextFormat {}),
        Some("json_object") => Format::JsonObject(JsonObjectFormat {}),
        Some("json_schema") => Format::JsonSchema(JsonSchemaFormat {
            name: m.take("name")?.ok_or_else(|| Invalid::at("text.format.name", "is required"))?,
            description: m.take("description")?,
            schema_json: m.raw("schema").map(str::to_owned),
            strict: m.take("strict")?,
            extra_json: m.rest(),
        }),
        Some(_) => Format::NativeJson(json.to_owned()),
        None => return Err(Invalid::at("text.format.type", "is required")),
    })
}

/// As chat completions have it: a member of its own.
fn with_verbosity(rest: String, verbosity: Option<&str>) -> String {
    match verbosity {
        None => rest,
        Some(verbosity) if rest.is_empty() => format!(r#"{{"verbosity":{verbosity}}}"#),
        Some(verbosity) => format!(r#"{{"verbosity":{verbosity},{}"#, &rest[1..]),
    }
}
