//! What a model's name tells about it.

use tollgate_proto::v1::Reasoning;

use crate::{Unsupported, json::Object};

/// How a model is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    /// By a level; calls of functions must come back signed. Gemini 3 and later.
    Levels,
    /// By a number of tokens. Gemini 2.5.
    Budget,
    /// It does not, or says nothing about it.
    Unknown,
}

impl Generation {
    /// `gemini-3-pro`, `gemini-2.5-flash-lite`, and `gemini-flash-latest`, which is the newest of its kind.
    pub(super) fn of(model: &str) -> Self {
        let Some(rest) = model.strip_prefix("gemini-") else { return Self::Unknown };
        let version: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        match version.parse::<f32>() {
            Ok(version) if version >= 3.0 => Self::Levels,
            Ok(version) if version >= 2.5 => Self::Budget,
            Err(_) if rest.ends_with("-latest") => Self::Levels,
            _ => Self::Unknown,
        }
    }
}

/// The `thinkingConfig` that was asked for, or what of it cannot be said.
pub(super) fn thinking(model: &str, reasoning: &Reasoning) -> Result<Option<String>, Unsupported> {
    let field = "reasoning_effort";
    let effort = reasoning.effort_native.as_deref();
    let mut config = Object::default();
    match (Generation::of(model), effort, reasoning.budget_tokens) {
        (_, None, None) => return Ok(None),
        (Generation::Unknown, ..) => return Err(Unsupported::because(field, "is known from gemini-2.5 on")),
        (_, Some(_), Some(_)) => {
            let why = "and a budget of reasoning tokens exclude each other for gemini";
            return Err(Unsupported::because(field, why));
        }
        (_, None, Some(budget)) => config.field("thinkingBudget", &budget),
        (Generation::Levels, Some(effort), None) => match effort {
            "minimal" | "low" | "medium" | "high" | "xhigh" => {
                config.field("thinkingLevel", &effort.to_ascii_uppercase())
            }
            _ => return Err(Unsupported::because(field, "must be minimal, low, medium, high or xhigh for this model")),
        },
        (Generation::Budget, Some("none"), None) if model.contains("-pro") => {
            return Err(Unsupported::because(field, "cannot be none for this model, which always reasons"));
        }
        // The sizes that Google's own endpoint of the OpenAI dialect gives these words.
        (Generation::Budget, Some(effort), None) => match effort {
            "none" => config.field("thinkingBudget", &0),
            "minimal" | "low" => config.field("thinkingBudget", &1_024),
            "medium" => config.field("thinkingBudget", &8_192),
            "high" => config.field("thinkingBudget", &24_576),
            _ => return Err(Unsupported::because(field, "must be none, minimal, low, medium or high for this model")),
        },
    };
    if effort != Some("none") && reasoning.budget_tokens != Some(0) {
        config.field("includeThoughts", &true);
    }
    Ok(Some(config.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_generation() {
        for (model, generation) in [
            ("gemini-3-flash-preview", Generation::Levels),
            ("gemini-3.1-pro-preview", Generation::Levels),
            ("gemini-4-argon", Generation::Levels),
            ("gemini-pro-latest", Generation::Levels),
            ("gemini-2.5-flash-lite", Generation::Budget),
            ("gemini-2.0-flash", Generation::Unknown),
            ("gemini-exp-1206", Generation::Unknown),
            ("gemma-3-27b-it", Generation::Unknown),
        ] {
            assert_eq!(Generation::of(model), generation, "{model}");
        }
    }
}
