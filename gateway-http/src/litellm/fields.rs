//! The fields of a request: taken one by one, so that what nobody took is known at the end.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{
    Gateway, forward,
    litellm::{duration, failure::Failure, money},
};

/// Fields that restrict or redirect calls and have no counterpart, and the way out. Ignored, they would leave a key with more than was asked.
const REFUSED: &[(&str, &str)] = &[
    ("access_groups", "there are no access groups; list the models in models"),
    ("access_group_ids", "there are no access groups; list the models in models"),
    ("agent_id", "there are no agents"),
    ("aliases", "the configuration decides what a model's name means; give the model there a second name"),
    ("allowed_model_region", "regions are asked for by each call, with the header x-tollgate-region"),
    ("allowed_routes", "a key's rights follow from its key_type: llm_api, read_only or management"),
    ("auto_rotate", "rotate with key/regenerate, which takes a grace_period"),
    ("blocked", "here only keys are blocked; block them, or set max_budget to 0"),
    ("budget_fallbacks", "fallbacks belong to the configuration"),
    ("config", "keys have no configuration of their own"),
    ("default_model", "every call names its model"),
    ("end_user_budget_id", "budgets of customers are made with customer/new"),
    ("enforced_params", "no parameters are enforced"),
    ("guardrails", "there are no guardrails of this name"),
    ("itpm_limit", "limit tokens with tpm_limit"),
    ("key", "leave it out, and use the key of the answer; key/generate takes a key of one's own"),
    ("litellm_credential_name", "give the credential itself in api_key, or configure a provider"),
    ("mcp_rpm_limit", "there is no MCP gateway"),
    ("mock_response", "answers are not made up; use a provider of the kind demo"),
    ("model_aliases", "the configuration decides what a model's name means; give the model there a second name"),
    ("model_rpm_limit", "limit the key with rpm_limit, or make a key for each model"),
    ("model_tpm_limit", "limit the key with tpm_limit, or make a key for each model"),
    ("new_key", "key/regenerate takes a new key of one's own"),
    ("object_permission", "there are no MCP servers, vector stores or agents to permit"),
    ("otpm_limit", "limit tokens with tpm_limit"),
    ("policies", "there are no policies"),
    ("project_id", "there are no projects; use a team"),
    ("router_settings", "routing belongs to the configuration"),
    ("spend", "spend is what the ledger holds; it is counted, not set"),
    ("tag_rpm_limit", "limit the key with rpm_limit"),
    ("team_id", "it belongs to no team; list what a team may use in its models"),
    ("team_member_rpm_limit", "limit the user with rpm_limit of user/new"),
    ("team_member_tpm_limit", "limit the user with tpm_limit of user/new"),
    ("tpd_limit", "limit tokens with tpm_limit, or money with max_budget and budget_duration 1d"),
];

/// Fields, each with the text of its JSON.
pub(crate) struct Fields(BTreeMap<String, Box<RawValue>>);

impl Fields {
    /// Those of an object within a request.
    pub(crate) fn of(given: BTreeMap<String, Box<RawValue>>) -> Self {
        Self(given)
    }

    /// Reads a body; an empty one has no fields.
    pub(crate) async fn read(gateway: &Gateway, parts: &Parts, body: Body) -> Result<Self, Failure> {
        let body = forward::read(gateway, parts, body).await?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(BTreeMap::new()));
        }
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Failure::field("body", format!("must be a JSON object: {error}")))
    }

    /// A field; outside `None` it was not given, inside `None` it is null.
    pub(crate) fn patch<T: DeserializeOwned>(&mut self, name: &str, form: &str) -> Result<Option<Option<T>>, Failure> {
        let Some(raw) = self.0.remove(name) else { return Ok(None) };
        // What was given stays out of the message: it may be a secret.
        serde_json::from_str(raw.get()).map(Some).map_err(|_| Failure::field(name, format!("must be {form}")))
    }

    /// A field, null being as good as nothing.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str, form: &str) -> Result<Option<T>, Failure> {
        Ok(self.patch(name, form)?.flatten())
    }

    /// A text that is not empty.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        Ok(self.take::<String>(name, "a string")?.filter(|text| !text.is_empty()))
    }

    /// A text that must be there.
    pub(crate) fn needed(&mut self, name: &str) -> Result<String, Failure> {
        self.text(name)?.ok_or_else(|| Failure::field(name, "is needed"))
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Failure> {
        self.take(name, "a list of strings")
    }

    /// Yes or no.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        self.take(name, "true or false")
    }

    /// A whole number, also as `100.0`.
    pub(crate) fn count(&mut self, name: &str) -> Result<Option<Option<i64>>, Failure> {
        self.number(name, |text| text.strip_suffix(".0").unwrap_or(text).parse().map_err(|_| "must be a whole number"))
    }

    /// Dollars, as nano-dollars.
    pub(crate) fn money(&mut self, name: &str) -> Result<Option<Option<i64>>, Failure> {
        self.number(name, money::nano_usd)
    }

    /// A number, read from its digits.
    pub(crate) fn number(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<i64, &'static str>,
    ) -> Result<Option<Option<i64>>, Failure> {
        match self.patch::<Box<RawValue>>(name, "a number")? {
            None => Ok(None),
            Some(None) => Ok(Some(None)),
            Some(Some(raw)) => {
                read(raw.get()).map(|number| Some(Some(number))).map_err(|what| Failure::field(name, what))
            }
        }
    }

    /// A duration, in seconds.
    pub(crate) fn seconds(&mut self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        duration::seconds(&text).map(Some).map_err(|what| Failure::field(name, what))
    }

    /// Ends the reading: refuses what must not be ignored, and names the rest.
    pub(crate) fn finish(self) -> Result<Vec<String>, Failure> {
        let mut ignored = Vec::new();
        for (name, raw) in self.0 {
            // What says nothing is nothing.
            if ["null", "false", "[]", "{}", "\"\"", "0", "0.0"].contains(&raw.get()) {
                continue;
            }
            if let Some((_, way_out)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
                return Err(Failure::field(&name, format!("has no counterpart here; {way_out}")));
            }
            ignored.push(name);
        }
        Ok(ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Fields {
        Fields(serde_json::from_str(body).unwrap())
    }

    #[test]
    fn absent_null_and_given_are_three_things() {
        let mut fields = fields(r#"{"a": null, "b": 1e-9, "c": 100.0, "d": "2s"}"#);
        assert_eq!(fields.money("x").unwrap(), None);
        assert_eq!(fields.money("a").unwrap(), Some(None));
        assert_eq!(fields.money("b").unwrap(), Some(Some(1)));
        assert_eq!(fields.count("c").unwrap(), Some(Some(100)));
        assert_eq!(fields.seconds("d").unwrap(), Some(2));
        assert!(fields.finish().unwrap().is_empty());
    }

    #[test]
    fn what_would_restrict_is_refused_and_what_is_harmless_is_named() {
        assert!(fields(r#"{"guardrails": ["pii"]}"#).finish().is_err());
        assert_eq!(fields(r#"{"guardrails": [], "send_invite_email": true}"#).finish().unwrap(), ["send_invite_email"]);
    }
}
