//! `tollgate audit body`, `erase` and `holds`: prompts and answers that are kept.

use clap::{Args, Subcommand};
use tollgate_client::v1::{
    self, BodyFormat, BodyPartKind, BodySubject, BodySubjectKind, CallBody, EraseBodiesRequest, EraseBodiesResponse,
    GetBodyResponse, LegalHold, ListLegalHoldsRequest, erase_bodies_request::What, legal_hold::On,
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

/// The request as text; one over gRPC in its JSON form.
fn request_told(body: &CallBody) -> String {
    let cut = if body.request_cut { "\n(cut)" } else { "" };
    let as_json = || match body.request_message.as_str() {
        "tollgate.v1.CompletionRequest" => told_as_json::<v1::CompletionRequest>(&body.request),
        "tollgate.v1.CreateEmbeddingRequest" => told_as_json::<v1::CreateEmbeddingRequest>(&body.request),
        "tollgate.v1.RerankRequest" => told_as_json::<v1::RerankRequest>(&body.request),
        "tollgate.v1.CreateModerationRequest" => told_as_json::<v1::CreateModerationRequest>(&body.request),
        "tollgate.v1.GenerateImageRequest" => told_as_json::<v1::GenerateImageRequest>(&body.request),
        "tollgate.v1.CreateSpeechRequest" => told_as_json::<v1::CreateSpeechRequest>(&body.request),
        "tollgate.v1.TranscriptionHead" => told_as_json::<v1::TranscriptionHead>(&body.request),
        "tollgate.v1.EditImageHead" => told_as_json::<v1::EditImageHead>(&body.request),
        _ => None,
    };
    let text = match body.request_format() {
        BodyFormat::Protobuf => as_json(),
        _ => None,
    };
    format!("{}{cut}", text.unwrap_or_else(|| String::from_utf8_lossy(&body.request).into_owned()))
}

fn told_as_json<M: prost::Message + prost::Name + Default>(bytes: &[u8]) -> Option<String> {
    tollgate_client::json::to_string(&M::decode(bytes).ok()?).ok()
}

/// The answer as text; what is no text of it with its kind in front.
fn answer_told(body: &CallBody) -> String {
    let told = body.answer.iter().map(|part| match part.kind() {
        BodyPartKind::Text => part.text.clone(),
        kind => format!("[{}] {}", word(kind.as_str_name(), "BODY_PART_KIND_"), part.text),
    });
    let mut lines: Vec<_> = told.collect();
    if body.answer_cut {
        lines.push("(cut)".into());
    }
    lines.join("\n")
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
