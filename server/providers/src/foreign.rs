//! A call in Anthropic's dialect at a provider of another: what has a counterpart is put in the common terms of the
//! contract, the rest is left out and told.

use tollgate_proto::v1::{
    CompletionRequest, Dialect, Message, Part, Reasoning, Role, TextPart, part::Content, tool::Kind,
    tool_choice::Choice,
};

use crate::{Chat, ChatCall, ReasonsBy, Unsupported, conversation::members};

/// Members of the call that change no answer: what is cached, and what a long conversation may be rid of.
const HINTS: [&str; 2] = ["cache_control", "context_management"];
/// Members of a tool that change no answer.
const HINTS_OF_TOOLS: [&str; 2] = ["eager_input_streaming", "input_examples"];
/// What services of OpenAI's dialect take as the name of an end user, in characters.
const LONGEST_USER: usize = 64;
/// Budgets from which on a word stands for them, in tokens.
const MEDIUM: i64 = 4_096;
const HIGH: i64 = 16_384;

/// The call in common terms, and what it goes without.
pub(crate) struct Common {
    pub(crate) request: CompletionRequest,
    pub(crate) unsupported: Vec<Unsupported>,
    pub(crate) dropped: Vec<String>,
}

impl Common {
    /// `None`: it is in common terms, or the model takes the dialect as it is.
    pub(crate) fn of(call: &ChatCall<'_>, model: &str, adapter: &dyn Chat) -> Option<Self> {
        let request = call.request;
        let dialect = request.original.as_ref().map(|original| original.dialect());
        if dialect != Some(Dialect::AnthropicMessages) || adapter.takes_messages(model) {
            return None;
        }
        let mut common = Self { request: request.clone(), unsupported: Vec::new(), dropped: Vec::new() };
        common.parameters();
        common.output_limit(call.max_output);
        common.reasoning(adapter.reasons_by(model));
        common.tools();
        common.messages();
        if !adapter.takes_media_as_results() {
            let messages = std::mem::take(&mut common.request.messages);
            common.request.messages = beside_results(messages);
        }
        Some(common)
    }

    fn parameters(&mut self) {
        let request = &mut self.request;
        for name in members(&std::mem::take(&mut request.extra_json)) {
            match HINTS.contains(&name.as_str()) {
                true => self.dropped.push(name),
                false => self.unsupported.push(Unsupported::new(name)),
            }
        }
        if !std::mem::take(&mut request.betas).is_empty() {
            self.dropped.push("anthropic-beta".into());
        }
        if request.service_tier_native.as_deref() == Some("standard_only") {
            request.service_tier_native = Some("default".into());
        }
        if let Some(user) = &mut request.user
            && let Some((end, _)) = user.char_indices().nth(LONGEST_USER)
        {
            user.truncate(end);
        }
    }

    /// Every call of this dialect names a limit, that of the models which its caller knows: more than a model has is no
    /// more than all.
    fn output_limit(&mut self, most: Option<u64>) {
        let most = most.and_then(|most| i64::try_from(most).ok());
        if self.request.max_output_tokens.is_some_and(|asked| most.is_some_and(|most| asked > most)) {
            self.request.max_output_tokens = most;
            self.dropped.push("max_tokens".into());
        }
    }

    fn reasoning(&mut self, by: ReasonsBy) {
        let Some(asked) = self.request.reasoning.take() else { return };
        let effort = match (asked.effort_native.as_deref(), asked.budget_tokens) {
            // What holds in this dialect anyway; to most models of others it cannot be said.
            (Some("none"), None) => return self.dropped.push("thinking".into()),
            _ if by == ReasonsBy::Nothing => return self.unsupported.push(Unsupported::new("thinking")),
            (_, Some(budget)) if by == ReasonsBy::Tokens => {
                self.request.reasoning = Some(Reasoning { effort_native: None, budget_tokens: Some(budget) });
                return;
            }
            (Some("max"), _) => "high",
            (Some(word), _) => word,
            (None, Some(budget)) if budget < MEDIUM => "low",
            (None, Some(budget)) if budget < HIGH => "medium",
            (None, _) => "high",
        };
        self.request.reasoning = Some(Reasoning { effort_native: Some(effort.to_owned()), budget_tokens: None });
    }

    fn tools(&mut self) {
        let mut at = 0..;
        let (unsupported, dropped) = (&mut self.unsupported, &mut self.dropped);
        self.request.tools.retain_mut(|tool| {
            let path = format!("tools[{}]", at.next().unwrap_or_default());
            for name in members(&std::mem::take(&mut tool.extra_json)) {
                let path = format!("{path}.{name}");
                match HINTS_OF_TOOLS.contains(&name.as_str()) {
                    true => dropped.push(path),
                    false => unsupported.push(Unsupported::new(path)),
                }
            }
            let is_function = matches!(tool.kind, Some(Kind::Function(_)));
            if !is_function {
                unsupported.push(Unsupported::because(path, "is a tool that only Anthropic's models know"));
            }
            is_function
        });
        let request = &mut self.request;
        if request.tools.is_empty() {
            (request.tool_choice, request.parallel_tool_calls) = (None, None);
        }
        // A choice of a tool that is not there any more.
        let is_there = |name: &String| {
            request.tools.iter().any(|tool| matches!(&tool.kind, Some(Kind::Function(f)) if f.name == *name))
        };
        if let Some(Choice::FunctionName(name)) = request.tool_choice.as_ref().and_then(|choice| choice.choice.as_ref())
            && !is_there(name)
        {
            request.tool_choice = None;
        }
    }

    fn messages(&mut self) {
        let mut messages = std::mem::take(&mut self.request.messages);
        for (i, message) in messages.iter_mut().enumerate() {
            let role = message.role();
            let path = format!("messages[{i}]");
            self.beside(&mut message.extra_json, role, &path);
            self.parts(&mut message.parts, role, &path);
        }
        self.request.messages = messages;
    }

    fn parts(&mut self, parts: &mut Vec<Part>, role: Role, path: &str) {
        let mut at = 0..;
        parts.retain_mut(|part| {
            let path = format!("{path}.content[{}]", at.next().unwrap_or_default());
            self.beside(&mut part.extra_json, role, &path);
            match &mut part.content {
                Some(Content::ToolResult(result)) => self.parts(&mut result.content, role, &path),
                Some(Content::Opaque(opaque)) => {
                    self.without(format!("{path}.{}", opaque.r#type), role);
                    return false;
                }
                _ => {}
            }
            true
        });
    }

    fn beside(&mut self, extra_json: &mut String, role: Role, path: &str) {
        for name in members(&std::mem::take(extra_json)) {
            self.without(format!("{path}.{name}"), role);
        }
    }

    /// What a model said earlier is not asked for again.
    fn without(&mut self, path: String, role: Role) {
        match role {
            Role::Assistant => self.dropped.push(path),
            _ => self.unsupported.push(Unsupported::new(path)),
        }
    }
}

/// Images and files that tools gave back, in a message of the user's behind the results: each below the id of its call.
fn beside_results(messages: Vec<Message>) -> Vec<Message> {
    let mut all = Vec::with_capacity(messages.len());
    let mut shown: Vec<Part> = Vec::new();
    for mut message in messages {
        if message.role() != Role::Tool {
            all.extend(of_user(&mut shown));
        }
        for part in &mut message.parts {
            let Some(Content::ToolResult(result)) = &mut part.content else { continue };
            let is_text = |part: &Part| matches!(part.content, Some(Content::Text(_)));
            let (texts, media): (Vec<Part>, Vec<Part>) = result.content.drain(..).partition(is_text);
            result.content = texts;
            if !media.is_empty() {
                shown.push(text(format!("The tool call {} gave back:", result.tool_call_id)));
                shown.extend(media);
            }
        }
        all.push(message);
    }
    all.extend(of_user(&mut shown));
    all
}

fn of_user(parts: &mut Vec<Part>) -> Option<Message> {
    let parts = std::mem::take(parts);
    (!parts.is_empty()).then(|| Message { role: Role::User as i32, parts, ..Message::default() })
}

fn text(text: String) -> Part {
    Part { content: Some(Content::Text(TextPart { text })), ..Part::default() }
}
