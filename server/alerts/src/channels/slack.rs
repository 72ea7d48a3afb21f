//! <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_domain::Secret;
use tollgate_outbound::Poster;

use super::{Messenger, SENDING, SendError, checked, judged, post};
use crate::{Notice, Severity, State, notice::rfc3339};

/// An incoming webhook.
#[derive(Clone, Debug)]
pub struct Slack {
    /// `https://hooks.slack.com/services/...`: a secret.
    pub webhook_url: Secret,
}

impl Slack {
    pub(super) fn open(self) -> Result<Room, String> {
        Ok(Room { url: checked(self.webhook_url.expose(), "webhook_url")?, poster: Poster::new() })
    }
}

pub(super) struct Room {
    url: String,
    poster: Poster,
}

/// The three characters that mean something to Slack.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// `text` is what notifications show; the block is what the room shows.
fn message(notice: &Notice) -> Value {
    let sign = match (notice.state, notice.severity) {
        (State::Resolved, _) => ":white_check_mark:",
        (State::Firing, Severity::Critical) => ":rotating_light:",
        (State::Firing, Severity::Warning) => ":warning:",
        (State::Firing, Severity::Info) => ":information_source:",
    };
    let headline = escaped(&notice.headline());
    let details = notice.details.iter().map(|(name, figure)| format!("{}: {}", escaped(name), escaped(figure)));
    let context: Vec<_> = [format!("{} · since {}", escaped(&notice.source), rfc3339(notice.since_us))]
        .into_iter()
        .chain(details)
        .collect();
    json!({
        "text": format!("{sign} {headline}"),
        "blocks": [
            { "type": "section", "text": { "type": "mrkdwn", "text": format!("{sign} *{headline}*") } },
            { "type": "context", "elements": [{ "type": "mrkdwn", "text": context.join(" · ") }] },
        ],
    })
}

#[async_trait]
impl Messenger for Room {
    async fn send(&self, notice: &Notice) -> Result<(), SendError> {
        let request = post(&self.url).body(Bytes::from(message(notice).to_string()));
        let request = request.map_err(|e| SendError { message: e.to_string(), later: false, after: None })?;
        judged(self.poster.send(request, SENDING).await)
    }
}
