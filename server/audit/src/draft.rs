use tollgate_domain::{CallId, Error};
use tollgate_proto::v1::{AuditBody, AuditRecord, FinishReason, GatewayOptions, Key, KeyRole, Routing, Usage};
use tollgate_redact::{clean, redact};

/// A record that is not closed yet. Secrets that callers put into its texts are hidden as they are noted.
#[derive(Clone, Debug)]
pub struct Draft {
    record: AuditRecord,
}

impl Draft {
    /// Opens a record.
    pub fn open(action: &str, peer: Option<&str>) -> Self {
        Self {
            record: AuditRecord {
                action: action.into(),
                peer: peer.unwrap_or_default().into(),
                ..AuditRecord::default()
            },
        }
    }

    /// Notes the call.
    pub fn call(&mut self, id: CallId, model: &str, options: Option<&GatewayOptions>) {
        self.record.call_id = id.to_string();
        self.record.model = redact(model).into();
        if let Some(options) = options {
            self.record.tags = options.tags.iter().map(|tag| redact(tag).into()).collect();
            let clean = options.metadata.iter().map(|(key, value)| (redact(key).into(), redact(value).into()));
            self.record.metadata = clean.collect();
        }
    }

    /// Notes who acts: the key, and what it is and whose at this moment.
    pub fn caller(&mut self, key: &Key) {
        self.named(&key.id);
        self.record.role = match key.role() {
            KeyRole::Unspecified => KeyRole::Caller,
            role => role,
        } as i32;
        self.record.user_id.clone_from(&key.user_id);
        self.record.team_id.clone_from(&key.team_id);
        self.record.organization_id.clone_from(&key.organization_id);
    }

    /// Notes which key acts, where no more is known of it.
    pub fn named(&mut self, key_id: &str) {
        self.record.key_id = key_id.into();
    }

    /// Notes what is acted on, and what changes.
    pub fn subject(&mut self, id: &str, changes: Vec<String>) {
        self.record.subject = redact(id).into();
        self.record.changes = changes;
        self.record.changes.iter_mut().for_each(clean);
    }

    /// Notes what the call's bodies leave: commitments, and where they are.
    pub fn bodies(&mut self, request: Vec<u8>, answer: Vec<u8>, told: AuditBody) {
        self.record.request_commitment = request.into();
        self.record.answer_commitment = answer.into();
        self.record.body = Some(told);
    }

    /// Notes how the choices of the answer ended.
    pub fn finished(&mut self, reasons: &[FinishReason]) {
        self.record.finish_reasons = reasons.iter().map(|r| *r as i32).collect();
    }

    /// Notes how the call was routed and what it consumed.
    pub fn served(&mut self, routing: Routing, usage: Option<Usage>) {
        self.record.routing = Some(routing);
        self.record.usage = usage;
    }

    /// Closes it. Position and time are given when it is journalled.
    pub fn close(mut self, error: Option<&Error>, duration_us: i64) -> AuditRecord {
        self.record.error_reason = error.map_or(0, |e| e.reason as i32);
        self.record.duration_us = duration_us;
        self.record
    }
}
