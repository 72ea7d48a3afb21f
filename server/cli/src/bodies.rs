//! `tollgate audit body`, `erase` and `holds`: prompts and answers that are kept.

use clap::{Args, Subcommand};
use tollgate_client::v1::{
    self, BodyFormat, BodyPart, BodyPartKind, BodySubject, BodySubjectKind, CallBody, EraseBodiesRequest,
    EraseBodiesResponse, GetBodyResponse, LegalHold, ListLegalHoldsRequest, erase_bodies_request::What, legal_hold::On,
};

use crate::{Connection, Failure, One, edit::word, output::Row, time};

/// Commands about prompts and answers that are kept.
#[derive(Subcommand, Debug)]
pub enum BodiesCommand {
    /// Shows the prompt and the answer of a call, where they are kept; that they were read is on record.
    Body {
        /// The call, by its id.
        call: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Makes prompts and answers unreadable for good, in every copy.
    Erase {
        #[command(flatten)]
        /// What.
        what: Named,
        /// Why, for the record: an article of law, a ticket.
        #[arg(long)]
        because: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Keeps prompts and answers from being erased.
    #[command(subcommand)]
    Holds(HoldsCommand),
}

/// Commands about legal holds.
#[derive(Subcommand, Debug)]
pub enum HoldsCommand {
    /// Makes a hold.
    Create {
        #[command(flatten)]
        /// On what.
        what: Named,
        /// On the whole team, or on an organization's keys without a team, by id.
        #[arg(long, conflicts_with_all = ["call", "end_user", "user", "key", "tenant"])]
        team: Option<String>,
        /// Why.
        #[arg(long)]
        because: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Lists holds, oldest first.
    List {
        /// Also those that were released.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Ends a hold.
    Release(One),
}

/// A call or a subject.
#[derive(Args, Debug)]
pub struct Named {
    /// One call, by its id.
    #[arg(long, conflicts_with_all = ["end_user", "user", "key", "tenant"])]
    call: Option<String>,
    /// An end user, as calls name it.
    #[arg(long, conflicts_with_all = ["user", "key"])]
    end_user: Option<String>,
    /// A user, by the id.
    #[arg(long, conflicts_with = "key")]
    user: Option<String>,
    /// A key that belongs to no user, by its id.
    #[arg(long)]
    key: Option<String>,
    /// Of the subject only what belongs to this team or organization.
    #[arg(long)]
    tenant: Option<String>,
}

impl Named {
    fn subject(&self) -> Option<BodySubject> {
        let (kind, id) = match (&self.end_user, &self.user, &self.key) {
            (Some(id), ..) => (BodySubjectKind::EndUser, id),
            (_, Some(id), _) => (BodySubjectKind::User, id),
            (.., Some(id)) => (BodySubjectKind::Key, id),
            _ => return None,
        };
        let tenant_id = self.tenant.clone().unwrap_or_default();
        Some(BodySubject { kind: kind.into(), id: id.clone(), tenant_id })
    }
}

impl Row for GetBodyResponse {
    const COLUMNS: &'static [&'static str] = &["state", "policy", "erased", "request", "answer"];

    fn cells(&self) -> Vec<String> {
        let body = self.body.clone().unwrap_or_default();
        vec![
            word(self.state().as_str_name(), "BODY_STATE_"),
            word(self.policy().as_str_name(), "BODY_POLICY_"),
            if self.is_erased { "yes" } else { "no" }.to_owned(),
            request_told(&body),
            answer_told(&body),
        ]
    }
}

/// The request as text; one over gRPC in its JSON form. Of its files their size.
fn request_told(body: &CallBody) -> String {
    let text = match body.request_format() {
        BodyFormat::Protobuf => message_told(&body.request_message, &body.request),
        _ => None,
    };
    let mut lines = vec![text.unwrap_or_else(|| String::from_utf8_lossy(&body.request).into_owned())];
    if !body.request_files.is_empty() {
        lines.push(format!("[files] {} bytes", body.request_files.len()));
    }
    lines.extend(cut_told(body.request_cut, body.request_bytes));
    lines.join("\n")
}

/// That something is missing, and of how much where that is known.
fn cut_told(is_cut: bool, bytes: u64) -> Option<String> {
    is_cut.then(|| match bytes {
        0 => "(cut)".to_owned(),
        bytes => format!("(cut, of {bytes} bytes)"),
    })
}

/// A message of the contract in its JSON form.
fn message_told(name: &str, bytes: &[u8]) -> Option<String> {
    match name {
        "tollgate.v1.CompletionRequest" => told_as_json::<v1::CompletionRequest>(bytes),
        "tollgate.v1.CreateEmbeddingRequest" => told_as_json::<v1::CreateEmbeddingRequest>(bytes),
        "tollgate.v1.CreateEmbeddingResponse" => told_as_json::<v1::CreateEmbeddingResponse>(bytes),
        "tollgate.v1.RerankRequest" => told_as_json::<v1::RerankRequest>(bytes),
        "tollgate.v1.RerankResponse" => told_as_json::<v1::RerankResponse>(bytes),
        "tollgate.v1.CreateModerationRequest" => told_as_json::<v1::CreateModerationRequest>(bytes),
        "tollgate.v1.CreateModerationResponse" => told_as_json::<v1::CreateModerationResponse>(bytes),
        "tollgate.v1.GenerateImageRequest" => told_as_json::<v1::GenerateImageRequest>(bytes),
        "tollgate.v1.CreateSpeechRequest" => told_as_json::<v1::CreateSpeechRequest>(bytes),
        "tollgate.v1.TranscriptionHead" => told_as_json::<v1::TranscriptionHead>(bytes),
        "tollgate.v1.EditImageHead" => told_as_json::<v1::EditImageHead>(bytes),
        _ => None,
    }
}

fn told_as_json<M: prost::Message + prost::Name + Default>(bytes: &[u8]) -> Option<String> {
    tollgate_client::json::to_string(&M::decode(bytes).ok()?).ok()
}

/// The answer as text; what is no text of it with its kind in front, and of sound and images their size.
fn answer_told(body: &CallBody) -> String {
    let mut lines: Vec<_> = body.answer.iter().map(part_told).collect();
    lines.extend(cut_told(body.answer_cut, body.answer_bytes));
    lines.join("\n")
}

fn part_told(part: &BodyPart) -> String {
    let kind = word(part.kind().as_str_name(), "BODY_PART_KIND_");
    if part.kind() == BodyPartKind::Text {
        return part.text.clone();
    }
    if part.data.is_empty() {
        return format!("[{kind}] {}", part.text);
    }
    let is_text = part.format.starts_with("text/") || part.format.starts_with("application/json");
    let text = if is_text { std::str::from_utf8(&part.data).ok().map(str::to_owned) } else { None };
    let told = text.or_else(|| message_told(&part.format, &part.data));
    format!("[{kind} {}] {}", part.format, told.unwrap_or_else(|| format!("{} bytes", part.data.len())))
}

impl Row for EraseBodiesResponse {
    const COLUMNS: &'static [&'static str] = &["bodies", "keys"];

    fn cells(&self) -> Vec<String> {
        vec![self.bodies.to_string(), self.kek_ids.join(",")]
    }
}

impl Row for LegalHold {
    const COLUMNS: &'static [&'static str] = &["id", "on", "reason", "created", "by", "released", "released_by"];

    fn cells(&self) -> Vec<String> {
        let on = match &self.on {
            Some(On::Subject(subject)) => {
                format!("{}:{}", word(subject.kind().as_str_name(), "BODY_SUBJECT_KIND_"), subject.id)
            }
            Some(On::TenantId(id)) => format!("tenant:{id}"),
            Some(On::CallId(id)) => format!("call:{id}"),
            None => String::new(),
        };
        vec![
            self.id.clone(),
            on,
            self.reason.clone(),
            time::told(self.create_time.as_ref()),
            self.created_by.clone(),
            time::told(self.release_time.as_ref()),
            self.released_by.clone(),
        ]
    }
}

fn nothing_named() -> Failure {
    Failure::Usage("name what it is about: --call, --end-user, --user or --key".into())
}

/// Runs a command about prompts and answers that are kept.
pub(crate) async fn run(command: BodiesCommand) -> Result<(), Failure> {
    match command {
        BodiesCommand::Body { call, connection } => {
            connection.printer().one(&connection.client()?.audit().body(&call).await?)
        }
        BodiesCommand::Erase { what, because, connection } => {
            let subject = what.subject().map(What::Subject);
            let named = what.call.map(What::CallId).or(subject).ok_or_else(nothing_named)?;
            let asked = EraseBodiesRequest { what: Some(named), legal_basis: because };
            connection.printer().one(&connection.client()?.audit().erase(asked).await?)
        }
        BodiesCommand::Holds(HoldsCommand::Create { what, team, because, connection }) => {
            let subject = what.subject().map(On::Subject);
            let on = team.map(On::TenantId).or(what.call.map(On::CallId)).or(subject).ok_or_else(nothing_named)?;
            let hold = LegalHold { on: Some(on), reason: because, ..LegalHold::default() };
            connection.printer().one(&connection.client()?.audit().create_hold(hold).await?)
        }
        BodiesCommand::Holds(HoldsCommand::List { all, connection }) => {
            let filter = ListLegalHoldsRequest { include_released: all, page_size: 1_000, ..Default::default() };
            connection.printer().all(connection.client()?.audit().holds(filter)).await
        }
        BodiesCommand::Holds(HoldsCommand::Release(One { id, connection })) => {
            connection.printer().one(&connection.client()?.audit().release_hold(&id).await?)
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn part(kind: BodyPartKind, format: &str, data: Vec<u8>) -> BodyPart {
        BodyPart { kind: kind as i32, format: format.into(), data: data.into(), ..BodyPart::default() }
    }

    #[test]
    fn sound_is_told_by_its_size_and_what_can_be_read_as_it_is() {
        let answer = v1::RerankResponse::default().encode_to_vec();
        let told = |part: BodyPart| part_told(&part);
        assert_eq!(told(part(BodyPartKind::Audio, "audio/mpeg", vec![255; 7])), "[audio audio/mpeg] 7 bytes");
        let json = part(BodyPartKind::Original, "application/json", b"{\"a\":1}".to_vec());
        assert_eq!(told(json), "[original application/json] {\"a\":1}");
        // A message without content has no bytes.
        assert_eq!(told(part(BodyPartKind::Message, "tollgate.v1.RerankResponse", answer)), "[message] ");
        let ranked = v1::RerankResponse { results: vec![v1::RerankResult::default()], ..Default::default() };
        let message = part(BodyPartKind::Message, "tollgate.v1.RerankResponse", ranked.encode_to_vec());
        assert!(told(message).starts_with("[message tollgate.v1.RerankResponse] {"), "in its JSON form");
        let image = part(BodyPartKind::Message, "tollgate.v1.StreamedImage", vec![1, 2, 3]);
        assert_eq!(told(image), "[message tollgate.v1.StreamedImage] 3 bytes");
    }

    #[test]
    fn what_is_cut_says_of_how_much() {
        let body = CallBody { answer_cut: true, answer_bytes: 9, request_cut: true, ..CallBody::default() };
        assert_eq!(answer_told(&body), "(cut, of 9 bytes)");
        let files = CallBody { request_files: b"ab".to_vec().into(), request_bytes: 5, ..body };
        assert_eq!(request_told(&files), "\n[files] 2 bytes\n(cut, of 5 bytes)");
    }
}
