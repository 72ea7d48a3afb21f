//! `POST /v1/chat/completions` as a `CompletionRequest`.

use tollgate_proto::v1::{
    CompletionRequest, JsonObjectFormat, JsonSchemaFormat, LogitBias, OutputLimitSpelling, Reasoning, ResponseFormat,
    StopSequences, TextFormat, Tool, ToolChoice, ToolChoiceMode, response_format::Format, tool::Kind,
    tool_choice::Choice,
};

use super::{
    Invalid, Wishes, content, functions,
    members::{Members, items, string},
    wishes::{Aside, untagged},
};

pub(super) fn read(body: &str) -> Result<(CompletionRequest, Wishes), Invalid> {
    let mut m = Members::read(body, "")?;
    let mut wishes = wishes(&mut m)?;
    let mut request = CompletionRequest { model: m.take("model")?, ..CompletionRequest::default() };
    if let Some(messages) = m.raw("messages") {
        for (i, message) in items(messages, "messages")?.into_iter().enumerate() {
            request.messages.push(content::message(message, &format!("messages[{i}]"))?);
        }
    }
    if let Some(tools) = m.raw("tools") {
        for (i, tool) in items(tools, "tools")?.into_iter().enumerate() {
            request.tools.push(read_tool(tool, &format!("tools[{i}]"))?);
        }
    }
    request.tool_choice = m.raw("tool_choice").map(tool_choice).transpose()?;
    request.response_format = m.raw("response_format").map(response_format).transpose()?;
    wishes.functions = functions::offered(&mut m, &mut request)?;
    functions::number(&mut request.messages);
    request.parallel_tool_calls = m.take("parallel_tool_calls")?;
    request.temperature = m.take("temperature")?;
    request.top_p = m.take("top_p")?;
    request.top_k = m.take("top_k")?;
    request.frequency_penalty = m.take("frequency_penalty")?;
    request.presence_penalty = m.take("presence_penalty")?;
    request.seed = seed(&mut m)?;
    request.stop = stop(&mut m)?;
    request.n = m.take("n")?;
    request.logprobs = m.take("logprobs")?;
    request.top_logprobs = m.take("top_logprobs")?;
    request.logit_bias = logit_bias(&mut m)?;
    output_limit(&mut m, &mut request)?;
    if let Some(effort) = m.take::<String>("reasoning_effort")? {
        request.reasoning = Some(Reasoning { effort_native: Some(effort), budget_tokens: None });
    }
    request.service_tier_native = m.take("service_tier")?;
    request.user = m.take("user")?;
    request.extra_json = untagged(m.rest())?;
    Ok((request, wishes))
}

pub(super) fn wishes(m: &mut Members<'_>) -> Result<Wishes, Invalid> {
    let stream = m.take("stream")?.unwrap_or(false);
    let include_usage = match m.raw("stream_options") {
        Some(options) => Members::read(options, "stream_options")?.take("include_usage")?.unwrap_or(false),
        None => false,
    };
    let Aside { tags, fallbacks, drop_params } = Aside::take(m)?;
    Ok(Wishes { stream, include_usage, functions: false, tags, fallbacks, drop_params })
}

/// Beyond 64 signed bits (some services draw unsigned ones) it is left among the members that the contract does not name.
pub(crate) fn seed(m: &mut Members<'_>) -> Result<Option<i64>, Invalid> {
    match m.peek("seed") {
        Some(json) if serde_json::from_str::<i64>(json).is_err() && serde_json::from_str::<u64>(json).is_ok() => {
            Ok(None)
        }
        _ => m.take("seed"),
    }
}

pub(super) fn stop(m: &mut Members<'_>) -> Result<Option<StopSequences>, Invalid> {
    let Some(json) = m.raw("stop") else { return Ok(None) };
    if let Some(one) = string(json) {
        return Ok(Some(StopSequences { sequences: vec![one], single: true }));
    }
    let sequences = serde_json::from_str(json).map_err(|e| Invalid::at("stop", e.to_string()))?;
    Ok(Some(StopSequences { sequences, single: false }))
}

pub(super) fn logit_bias(m: &mut Members<'_>) -> Result<Vec<LogitBias>, Invalid> {
    let biases: Option<std::collections::BTreeMap<String, f64>> = m.take("logit_bias")?;
    Ok(biases.into_iter().flatten().map(|(token_id, bias)| LogitBias { token_id, bias }).collect())
}

fn output_limit(m: &mut Members<'_>, request: &mut CompletionRequest) -> Result<(), Invalid> {
    let old: Option<i64> = m.take("max_tokens")?;
    let new: Option<i64> = m.take("max_completion_tokens")?;
    request.max_output_tokens = new.or(old);
    let spelling = match (new, old) {
        (Some(_), _) => OutputLimitSpelling::MaxCompletionTokens,
        (None, Some(_)) => OutputLimitSpelling::MaxTokens,
        (None, None) => return Ok(()),
    };
    request.set_max_output_spelling(spelling);
    Ok(())
}

fn read_tool(json: &str, path: &str) -> Result<Tool, Invalid> {
    let mut m = Members::read(json, path)?;
    let kind: Option<String> = m.take("type")?;
    if kind.as_deref() != Some("function") {
        return Ok(Tool { kind: Some(Kind::NativeJson(json.to_owned())), ..Tool::default() });
    }
    let cache_control_json = m.raw("cache_control").unwrap_or_default().to_owned();
    let function = m.raw("function").ok_or_else(|| Invalid::at(m.path("function"), "is required"))?;
    let function = functions::read_function(Members::read(function, &m.path("function"))?)?;
    Ok(Tool { kind: Some(Kind::Function(function)), cache_control_json, extra_json: m.rest() })
}

fn tool_choice(json: &str) -> Result<ToolChoice, Invalid> {
    let native = || Choice::NativeJson(json.to_owned());
    let choice = match string(json).as_deref() {
        Some("auto") => Choice::Mode(ToolChoiceMode::Auto as i32),
        Some("none") => Choice::Mode(ToolChoiceMode::None as i32),
        Some("required") => Choice::Mode(ToolChoiceMode::Required as i32),
        Some(_) => return Err(Invalid::at("tool_choice", "must be auto, none, required or an object")),
        None => {
            let mut m = Members::read(json, "tool_choice")?;
            let is_function = m.take::<String>("type")?.as_deref() == Some("function");
            match m.raw("function").filter(|_| is_function) {
                Some(function) => match Members::read(function, "tool_choice.function")?.take("name")? {
                    Some(name) => Choice::FunctionName(name),
                    None => return Err(Invalid::at("tool_choice.function.name", "is required")),
                },
                None => native(),
            }
        }
    };
    Ok(ToolChoice { choice: Some(choice) })
}

fn response_format(json: &str) -> Result<ResponseFormat, Invalid> {
    let mut m = Members::read(json, "response_format")?;
    let format = match m.take::<String>("type")?.as_deref() {
        Some("text") => Format::Text(TextFormat {}),
        Some("json_object") => Format::JsonObject(JsonObjectFormat {}),
        Some("json_schema") => {
            let path = m.path("json_schema");
            let schema = m.raw("json_schema").ok_or_else(|| Invalid::at(path.clone(), "is required"))?;
            let mut s = Members::read(schema, &path)?;
            Format::JsonSchema(JsonSchemaFormat {
                name: s.take("name")?.unwrap_or_default(),
                description: s.take("description")?,
                schema_json: s.raw("schema").map(str::to_owned),
                strict: s.take("strict")?,
                extra_json: s.rest(),
            })
        }
        _ => Format::NativeJson(json.to_owned()),
    };
    Ok(ResponseFormat { format: Some(format) })
}
