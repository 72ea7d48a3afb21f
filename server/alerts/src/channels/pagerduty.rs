//! <https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_domain::Secret;
use tollgate_outbound::Poster;

use super::{Messenger, SENDING, SendError, checked, judged, post};
use crate::{Notice, State, notice::rfc3339};

/// A service's integration by Events API v2.
#[derive(Clone, Debug)]
pub struct PagerDuty {
    /// The integration key.
    pub routing_key: Secret,
    /// The whole URL: `https://events.pagerduty.com/v2/enqueue`, or the European one.
    pub url: String,
}

impl PagerDuty {
    pub(super) fn open(self) -> Result<Service, String> {
        Ok(Service { url: checked(&self.url, "url")?, routing_key: self.routing_key, poster: Poster::new() })
    }
}

pub(super) struct Service {
    url: String,
    routing_key: Secret,
    poster: Poster,
}

/// A summary is at most 1,024 characters.
const LONGEST: usize = 1_024;

fn event(notice: &Notice, routing_key: &str) -> Value {
    let mut event = json!({
        "routing_key": routing_key,
        "dedup_key": notice.dedup_key(),
        "event_action": match notice.state {
            State::Firing => "trigger",
            State::Resolved => "resolve",
        },
    });
    if notice.state == State::Firing {
        event["client"] = json!("Tollgate");
        event["payload"] = json!({
            "summary": notice.summary.chars().take(LONGEST).collect::<String>(),
            "source": notice.source,
            "severity": notice.severity.name(),
            "timestamp": rfc3339(notice.since_us),
            "component": notice.subject,
            "class": notice.rule,
            "custom_details": notice.details,
        });
    }
    event
}

#[async_trait]
impl Messenger for Service {
    async fn send(&self, notice: &Notice) -> Result<(), SendError> {
        let body = event(notice, self.routing_key.expose()).to_string();
        let request = post(&self.url).body(Bytes::from(body));
        let request = request.map_err(|e| SendError { message: e.to_string(), later: false, after: None })?;
        judged(self.poster.send(request, SENDING).await)
    }
}
