//! `alerts:`, as they are written, and as they are watched.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use tollgate_alerts::{Channel, Condition, Rule, Severity, Timing, default_rules};
use tollgate_domain::NanoUsd;

use super::{
    SecretRef, Span,
    sinks::{WebhookSettings, headers, secret},
};

/// What is told when something goes wrong, and to whom.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// Who is told, by name; empty: nobody, and nothing is watched.
    pub channels: BTreeMap<String, AlertChannel>,
    /// What is watched, by name; absent: all conditions with their defaults.
    pub rules: Option<BTreeMap<String, AlertRule>>,
    /// Names this gateway in notices; absent: `tollgate`.
    pub source: Option<String>,
    /// How often it is looked at, at least every 100 ms; absent: 10 seconds.
    pub every: Option<Span>,
}

/// Who is told. Exactly one kind is given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertChannel {
    /// A chat room by an incoming webhook of Slack.
    pub slack: Option<SlackChannel>,
    /// Anything that takes a JSON object over HTTP.
    pub webhook: Option<WebhookSettings>,
    /// PagerDuty, Events API v2.
    pub pagerduty: Option<PagerDutyChannel>,
    /// Mail by SMTP.
    pub email: Option<EmailChannel>,
}

/// Slack.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlackChannel {
    /// `https://hooks.slack.com/services/...`.
    pub webhook_url: SecretRef,
}

/// PagerDuty.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PagerDutyChannel {
    /// The integration key of a service.
    pub routing_key: SecretRef,
    /// The whole URL; absent: `https://events.pagerduty.com/v2/enqueue`.
    pub url: Option<String>,
}

/// How a line to a mail server is kept private.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SmtpSecurity {
    /// It changes to TLS before anything is said. Port 587.
    #[default]
    Starttls,
    /// TLS from the first byte. Port 465.
    Tls,
    /// In the clear. Port 25.
    None,
}

/// Mail.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailChannel {
    /// The server.
    pub host: String,
    /// Its port; absent: the usual one.
    pub port: Option<u16>,
    /// How the line is kept private.
    #[serde(default)]
    pub security: SmtpSecurity,
    /// File of authorities to trust besides the usual ones, PEM.
    pub ca: Option<PathBuf>,
    /// The name to log in with; goes with `password`.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretRef>,
    /// The sender: `Tollgate <alerts@example.org>`.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
}

/// How much an alert matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertSeverity {
    /// Good to know.
    Info,
    /// Somebody should look at it today.
    #[default]
    Warning,
    /// Somebody should look at it now.
    Critical,
}

/// A rule. Exactly one condition is given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertRule {
    /// A budget passes one of its `alert_percents`.
    pub budget_threshold: Option<BudgetThreshold>,
    /// A budget's limit is spent, or a call is refused for it.
    pub budget_exhausted: Option<BudgetExhausted>,
    /// Attempts at a provider fail.
    pub provider_failures: Option<ShareRule>,
    /// Calls of a model go to another deployment than the first.
    pub fallbacks: Option<ShareRule>,
    /// Calls of a model take long.
    pub slow_calls: Option<SlowCalls>,
    /// The last hour cost more than the same hour of former weeks.
    pub spend_anomaly: Option<SpendAnomaly>,
    /// The ledger goes without PostgreSQL or Redis.
    pub ledger_degraded: Option<LedgerDegraded>,
    /// A key ends by itself soon.
    pub key_expiring: Option<KeyExpiring>,
    /// How much it matters.
    pub severity: AlertSeverity,
    /// Who is told; empty: all channels.
    pub channels: Vec<String>,
    /// It must be so for this long before it is told; absent: at once.
    pub lasting: Option<Span>,
    /// It must be over for this long before that is told; absent: 1 minute.
    pub settled: Option<Span>,
    /// Between two beginnings that are told of the same subject; absent: 10 minutes.
    pub cooldown: Option<Span>,
}

/// A budget passes one of its `alert_percents`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetThreshold {
    /// From this percentage of the limit on.
    pub from_percent: u32,
}

impl Default for BudgetThreshold {
    fn default() -> Self {
        Self { from_percent: 80 }
    }
}

/// A budget's limit is spent, or a call is refused for it.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetExhausted {
    /// How long a refusal counts.
    pub within: Span,
}

impl Default for BudgetExhausted {
    fn default() -> Self {
        Self { within: Span::seconds(300) }
    }
}

/// A share of calls or attempts within a window.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShareRule {
    /// The share, in percent, 1 to 100.
    pub percent: u32,
    /// The window.
    pub window: Span,
    /// Among at least so many.
    pub least: u64,
}

impl Default for ShareRule {
    fn default() -> Self {
        Self { percent: 25, window: Span::seconds(300), least: 20 }
    }
}

/// Calls of a model take long.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlowCalls {
    /// What is long.
    pub over: Span,
    /// The share, in percent, 1 to 100.
    pub percent: u32,
    /// The window.
    pub window: Span,
    /// Among at least so many.
    pub least: u64,
    /// Only of these models; empty: all.
    pub models: Vec<String>,
}

impl Default for SlowCalls {
    fn default() -> Self {
        Self { over: Span::seconds(60), percent: 20, window: Span::seconds(600), least: 20, models: Vec::new() }
    }
}

/// The last hour cost more than the same hour of former weeks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SpendAnomaly {
    /// In percent of their middle; 300: three times as much.
    pub percent: u32,
    /// And at least so much, in dollars, as a decimal string.
    pub least_usd: String,
    /// So many weeks back, 1 to 52.
    pub weeks: u32,
}

impl Default for SpendAnomaly {
    fn default() -> Self {
        Self { percent: 300, least_usd: "10".into(), weeks: 4 }
    }
}

/// The ledger goes without PostgreSQL or Redis.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerDegraded {}

/// A key ends by itself soon.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyExpiring {
    /// How soon.
    pub within: Span,
}

impl Default for KeyExpiring {
    fn default() -> Self {
        Self { within: Span::seconds(7 * 24 * 3_600) }
    }
}

type Read<T> = Result<T, String>;

impl Alerts {
    /// As they are watched; the error begins with the setting.
    pub fn read(&self) -> Read<tollgate_alerts::Options> {
        let rules = match &self.rules {
            None => default_rules(),
            Some(rules) => rules
                .iter()
                .map(|(name, rule)| rule.read(name).map_err(|why| format!("alerts.rules.{name}: {why}")))
                .collect::<Read<_>>()?,
        };
        let every = self.every.map_or(std::time::Duration::from_secs(10), Span::duration);
        Ok(tollgate_alerts::Options {
            source: self.source.clone().unwrap_or_else(|| "tollgate".into()),
            channels: self.channels()?,
            rules,
            every: every.max(std::time::Duration::from_millis(100)),
        })
    }

    /// The channels alone.
    pub fn channels(&self) -> Read<Vec<(String, Channel)>> {
        let read = |(name, channel): (&String, &AlertChannel)| {
            let read = channel.read().map_err(|why| format!("alerts.channels.{name}: {why}"))?;
            Ok((name.clone(), read))
        };
        self.channels.iter().map(read).collect()
    }
}

impl AlertChannel {
    /// Every secret that it names.
    pub(super) fn secrets(&self) -> Vec<&SecretRef> {
        let mut secrets = Vec::new();
        secrets.extend(self.slack.iter().map(|it| &it.webhook_url));
        secrets.extend(self.webhook.iter().flat_map(WebhookSettings::secrets));
        secrets.extend(self.pagerduty.iter().map(|it| &it.routing_key));
        secrets.extend(self.email.iter().flat_map(|it| &it.password));
        secrets
    }

    fn read(&self) -> Read<Channel> {
        let mut kinds = Vec::new();
        if let Some(slack) = &self.slack {
            let webhook_url = secret(&slack.webhook_url, "slack.webhook_url")?;
            kinds.push(Channel::Slack(tollgate_alerts::Slack { webhook_url }));
        }
        if let Some(webhook) = &self.webhook {
            kinds.push(Channel::Webhook(tollgate_alerts::Webhook {
                url: secret(&webhook.url, "webhook.url")?,
                secret: webhook.secret.as_ref().map(|s| secret(s, "webhook.secret")).transpose()?,
                headers: headers(&webhook.headers)?,
            }));
        }
        if let Some(pagerduty) = &self.pagerduty {
            kinds.push(Channel::PagerDuty(tollgate_alerts::PagerDuty {
                routing_key: secret(&pagerduty.routing_key, "pagerduty.routing_key")?,
                url: pagerduty.url.clone().unwrap_or_else(|| "https://events.pagerduty.com/v2/enqueue".into()),
            }));
        }
        if let Some(email) = &self.email {
            kinds.push(Channel::Email(email.read()?));
        }
        let only = kinds.pop();
        match (only, kinds.is_empty()) {
            (Some(kind), true) => Ok(kind),
            (Some(_), false) => Err("is of several kinds; make a channel for each".into()),
            (None, _) => Err("is of no kind: give one of slack, webhook, pagerduty, email".into()),
        }
    }
}

impl EmailChannel {
    fn read(&self) -> Read<tollgate_alerts::Email> {
        use tollgate_alerts::SmtpSecurity as Line;
        let (security, usual) = match self.security {
            SmtpSecurity::Starttls => (Line::StartTls, 587),
            SmtpSecurity::Tls => (Line::Tls, 465),
            SmtpSecurity::None => (Line::None, 25),
        };
        let login = match (&self.username, &self.password) {
            (Some(name), Some(password)) => Some((name.clone(), secret(password, "email.password")?)),
            (None, None) => None,
            _ => return Err("email: username and password go together".into()),
        };
        Ok(tollgate_alerts::Email {
            host: self.host.clone(),
            port: self.port.unwrap_or(usual),
            security,
            ca: self.ca.clone(),
            login,
            from: self.from.clone(),
            to: self.to.clone(),
        })
    }
}

impl AlertRule {
    fn read(&self, name: &str) -> Read<Rule> {
        let severity = match self.severity {
            AlertSeverity::Info => Severity::Info,
            AlertSeverity::Warning => Severity::Warning,
            AlertSeverity::Critical => Severity::Critical,
        };
        let mut rule = Rule::new(name, self.condition()?, severity);
        rule.channels = self.channels.clone();
        let or = |span: Option<Span>, usual| span.map_or(usual, Span::duration);
        rule.timing = Timing {
            lasting: or(self.lasting, rule.timing.lasting),
            settled: or(self.settled, rule.timing.settled),
            cooldown: or(self.cooldown, rule.timing.cooldown),
        };
        Ok(rule)
    }

    fn condition(&self) -> Read<Condition> {
        let mut conditions = self.shares()?;
        if let Some(threshold) = self.budget_threshold {
            conditions.push(Condition::BudgetThreshold { from_percent: threshold.from_percent });
        }
        if let Some(exhausted) = self.budget_exhausted {
            conditions.push(Condition::BudgetExhausted { within: exhausted.within.duration() });
        }
        if let Some(anomaly) = &self.spend_anomaly {
            let least: NanoUsd = anomaly.least_usd.parse().map_err(|e| format!("spend_anomaly.least_usd: {e}"))?;
            if !(1..=52).contains(&anomaly.weeks) {
                return Err("spend_anomaly.weeks: must be from 1 to 52".into());
            }
            conditions.push(Condition::SpendAnomaly { percent: anomaly.percent, least: least.0, weeks: anomaly.weeks });
        }
        if self.ledger_degraded.is_some() {
            conditions.push(Condition::LedgerDegraded);
        }
        if let Some(expiring) = self.key_expiring {
            conditions.push(Condition::KeyExpiring { within: expiring.within.duration() });
        }
        let only = conditions.pop();
        match (only, conditions.is_empty()) {
            (Some(condition), true) => Ok(condition),
            (Some(_), false) => Err("has several conditions; make a rule for each".into()),
            (None, _) => Err("has no condition: give one of budget_threshold, budget_exhausted, provider_failures, \
                              fallbacks, slow_calls, spend_anomaly, ledger_degraded, key_expiring"
                .into()),
        }
    }

    fn shares(&self) -> Read<Vec<Condition>> {
        let is_share = |percent: u32, setting: &str| match percent {
            1..=100 => Ok(percent),
            _ => Err(format!("{setting}.percent: must be from 1 to 100")),
        };
        let mut conditions = Vec::new();
        if let Some(share) = self.provider_failures {
            let percent = is_share(share.percent, "provider_failures")?;
            let window = share.window.duration();
            conditions.push(Condition::ProviderFailures { percent, window, least: share.least });
        }
        if let Some(share) = self.fallbacks {
            let percent = is_share(share.percent, "fallbacks")?;
            conditions.push(Condition::Fallbacks { percent, window: share.window.duration(), least: share.least });
        }
        if let Some(slow) = &self.slow_calls {
            conditions.push(Condition::SlowCalls {
                over: slow.over.duration(),
                percent: is_share(slow.percent, "slow_calls")?,
                window: slow.window.duration(),
                least: slow.least,
                models: slow.models.clone(),
            });
        }
        Ok(conditions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Read<tollgate_alerts::Options> {
        serde_yaml_ng::from_str::<Alerts>(yaml).map_err(|e| e.to_string())?.read()
    }

    #[test]
    fn without_rules_all_conditions_are_watched() {
        let options = read("channels: { ops: { slack: { webhook_url: \"https://hooks.example.org/x\" } } }").unwrap();
        assert_eq!(options.rules.len(), 9);
        assert_eq!(options.channels.len(), 1);
    }

    #[test]
    fn a_rule_has_exactly_one_condition() {
        let rule = |yaml: &str| read(&format!("rules: {{ r: {{ {yaml} }} }}")).map(|o| o.rules[0].condition.clone());
        assert_eq!(rule("ledger_degraded: {}"), Ok(Condition::LedgerDegraded));
        assert!(rule("severity: info").is_err_and(|why| why.starts_with("alerts.rules.r: has no condition")));
        assert!(rule("ledger_degraded: {}, key_expiring: {}").is_err_and(|why| why.contains("several conditions")));
        assert!(rule("fallbacks: { percent: 0 }").is_err_and(|why| why.contains("fallbacks.percent")));
    }

    #[test]
    fn a_login_is_a_name_and_a_password() {
        let email = "channels: { mail: { email: { host: h, from: a@b.org, to: [c@d.org], username: u } } }";
        assert!(read(email).is_err_and(|why| why.starts_with("alerts.channels.mail: email: username and password")));
    }
}
