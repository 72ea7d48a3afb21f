use std::collections::BTreeMap;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it today.
    Warning,
    /// Somebody should look at it now.
    Critical,
}

impl Severity {
    /// Its name in settings and notices; PagerDuty's words too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Whether it begins or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is so.
    Firing,
    /// It is over.
    Resolved,
}

impl State {
    /// Its name in notices.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The rule.
    pub rule: String,
    /// What it is about: a provider, a budget, a key, a model; empty: the gateway.
    pub subject: String,
    /// Whether it begins or is over.
    pub state: State,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence, without a secret or a prompt.
    pub summary: String,
    /// Figures by name.
    pub details: BTreeMap<String, String>,
    /// Since when it is so, microseconds since the epoch.
    pub since_us: i64,
    /// When it is told.
    pub time_us: i64,
    /// Names the gateway.
    pub source: String,
}

impl Notice {
    /// The same for all notices of one alert: what receivers know repetitions and recoveries by.
    pub fn dedup_key(&self) -> String {
        dedup_key(&self.rule, &self.subject)
    }

    /// The one that `tollgate alerts test` sends.
    pub fn test(source: &str, time_us: i64) -> Self {
        Self {
            rule: "test".into(),
            subject: String::new(),
            state: State::Firing,
            severity: Severity::Info,
            summary: "This is a test: alerts of Tollgate arrive here.".into(),
            details: BTreeMap::new(),
            since_us: time_us,
            time_us,
            source: source.to_owned(),
        }
    }

    /// The same, over.
    #[must_use]
    pub fn resolved(mut self) -> Self {
        self.state = State::Resolved;
        self
    }

    /// `[firing] rule: summary`, for people.
    pub(crate) fn headline(&self) -> String {
        format!("[{}] {}: {}", self.state.name(), self.rule, self.summary)
    }
}

pub(crate) fn dedup_key(rule: &str, subject: &str) -> String {
    match subject {
        "" => format!("tollgate/{rule}"),
        _ => format!("tollgate/{rule}/{subject}"),
    }
}

/// RFC 3339, UTC, to the second.
pub(crate) fn rfc3339(us: i64) -> String {
    jiff::Timestamp::from_second(us.div_euclid(1_000_000)).map_or_else(|_| String::new(), |time| time.to_string())
}
