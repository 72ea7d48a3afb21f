//! `tollgate teams`, `orgs`, `users`.

use clap::Subcommand;
use tollgate_client::v1::{self, Organization, Team, User};

use crate::{
    Connection, Failure, One,
    edit::{Fields, LimitArgs, Priority, label, labels_told, limits_told, word},
    output::Row,
    time,
};

/// A list, of one organization or of all.
#[derive(clap::Args, Debug)]
pub struct Many {
    /// Only of this organization.
    #[arg(long, default_value = "")]
    org: String,
    #[command(flatten)]
    connection: Connection,
}

/// What can be set of a team, an organization or a user.
#[derive(clap::Args, Debug)]
pub struct Settings {
    /// Models that its keys may use; `*`: all. May be given several times. Not for users.
    #[arg(long = "model")]
    models: Vec<String>,
    /// A label, NAME=VALUE; others stay. May be given several times.
    #[arg(long = "metadata", value_parser = label)]
    metadata: Vec<(String, String)>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    connection: Connection,
}

/// What is kept of prompts and answers.
#[derive(clap::ValueEnum, Debug, Clone, Copy)]
pub enum KeptBodies {
    /// What the gateway's configuration says.
    Default,
    /// Nothing but commitments.
    None,
    /// Without what looks private.
    Redacted,
    /// All of it, encrypted.
    Full,
}

impl From<KeptBodies> for v1::BodyPolicy {
    fn from(kept: KeptBodies) -> Self {
        match kept {
            KeptBodies::Default => Self::Unspecified,
            KeptBodies::None => Self::None,
            KeptBodies::Redacted => Self::Redacted,
            KeptBodies::Full => Self::Full,
        }
    }
}

/// Commands about teams.
#[derive(Subcommand, Debug)]
pub enum TeamsCommand {
    /// Makes a team.
    Create {
        /// A name for people.
        name: String,
        /// Id of its organization.
        #[arg(long, default_value = "")]
        org: String,
        /// Priority of its keys' calls.
        #[arg(long, value_enum)]
        priority: Option<Priority>,
        /// What is kept of the prompts and answers of its calls.
        #[arg(long, value_enum)]
        audit_bodies: Option<KeptBodies>,
        #[command(flatten)]
        /// What is set.
        settings: Settings,
    },
    /// Lists teams, oldest first.
    List(Many),
    /// Shows a team.
    Show(One),
    /// Changes what is given of a team.
    Update {
        /// Its id.
        id: String,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        /// Priority of its keys' calls.
        #[arg(long, value_enum)]
        priority: Option<Priority>,
        /// What is kept of the prompts and answers of its calls.
        #[arg(long, value_enum)]
        audit_bodies: Option<KeptBodies>,
        #[command(flatten)]
        /// What is set.
        settings: Settings,
    },
    /// Takes a team away that nothing belongs to.
    Delete(One),
    /// Makes a user a member.
    AddMember {
        /// Id of the team.
        team: String,
        /// Id of the user.
        user: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Ends a membership.
    RemoveMember {
        /// Id of the team.
        team: String,
        /// Id of the user.
        user: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
}

/// Commands about organizations.
#[derive(Subcommand, Debug)]
pub enum OrgsCommand {
    /// Makes an organization.
    Create {
        /// A name for people.
        name: String,
        #[command(flatten)]
        /// What is set.
        settings: Settings,
    },
    /// Lists organizations, oldest first.
    List {
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Shows an organization.
    Show(One),
    /// Changes what is given of an organization.
    Update {
        /// Its id.
        id: String,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        /// What is set.
        settings: Settings,
    },
    /// Takes an organization away that nothing belongs to.
    Delete(One),
}

/// Commands about users.
#[derive(Subcommand, Debug)]
pub enum UsersCommand {
    /// Makes a user.
    Create {
        /// A name for people.
        name: String,
        /// Id of the organization.
        #[arg(long, default_value = "")]
        org: String,
        /// Address of electronic mail.
        #[arg(long, default_value = "")]
        email: String,
        #[command(flatten)]
        /// What is set.
        settings: Settings,
    },
    /// Lists users, oldest first.
    List(Many),
    /// Shows a user.
    Show(One),
    /// Changes what is given of a user.
    Update {
        /// The id.
        id: String,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        /// Another address of electronic mail.
        #[arg(long)]
        email: Option<String>,
        #[command(flatten)]
        /// What is set.
        settings: Settings,
    },
    /// Takes a user away whom nothing belongs to.
    Delete(One),
}

impl Row for Team {
    const COLUMNS: &'static [&'static str] =
        &["id", "name", "org", "models", "members", "priority", "limits", "metadata", "bodies", "created"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.display_name.clone(),
            self.organization_id.clone(),
            self.models.join(","),
            self.member_ids.join(","),
            word(self.priority().as_str_name(), "PRIORITY_"),
            limits_told(self.limits.as_ref()),
            labels_told(&self.metadata),
            word(self.audit_bodies().as_str_name(), "BODY_POLICY_"),
            time::told(self.create_time.as_ref()),
        ]
    }
}

impl Row for Organization {
    const COLUMNS: &'static [&'static str] = &["id", "name", "models", "limits", "metadata", "created"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.display_name.clone(),
            self.models.join(","),
            limits_told(self.limits.as_ref()),
            labels_told(&self.metadata),
            time::told(self.create_time.as_ref()),
        ]
    }
}

impl Row for User {
    const COLUMNS: &'static [&'static str] = &["id", "name", "email", "org", "limits", "metadata", "created"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.display_name.clone(),
            self.email.clone(),
            self.organization_id.clone(),
            limits_told(self.limits.as_ref()),
            labels_told(&self.metadata),
            time::told(self.create_time.as_ref()),
        ]
    }
}

fn some(models: &[String]) -> Option<Vec<String>> {
    (!models.is_empty()).then(|| models.to_vec())
}

impl Settings {
    /// What is set of any tenant: limits and labels, over those that it has.
    fn common(
        &self,
        fields: &mut Fields,
        limits: &mut Option<v1::RateLimits>,
        metadata: &mut std::collections::HashMap<String, String>,
    ) {
        let given = self.limits.over(*limits);
        fields.set("limits", limits, given.map(Some));
        if !self.metadata.is_empty() {
            metadata.extend(self.metadata.iter().cloned());
            fields.name("metadata");
        }
    }
}

/// Runs a command about teams.
pub(crate) async fn teams(command: TeamsCommand) -> Result<(), Failure> {
    match command {
        TeamsCommand::Create { name, org, priority, audit_bodies, settings } => {
            let mut team = Team {
                display_name: name,
                organization_id: org,
                models: settings.models.clone(),
                priority: priority.map(v1::Priority::from).unwrap_or_default().into(),
                audit_bodies: audit_bodies.map(v1::BodyPolicy::from).unwrap_or_default().into(),
                ..Team::default()
            };
            settings.common(&mut Fields::default(), &mut team.limits, &mut team.metadata);
            let asked = v1::CreateTeamRequest { team: Some(team), ..Default::default() };
            settings.connection.printer().one(&settings.connection.client()?.teams().create(asked).await?)
        }
        TeamsCommand::List(Many { org, connection }) => {
            let filter = v1::ListTeamsRequest { page_size: 1_000, organization_id: org, ..Default::default() };
            connection.printer().all(connection.client()?.teams().list(filter)).await
        }
        TeamsCommand::Show(One { id, connection }) => {
            connection.printer().one(&connection.client()?.teams().get(&id).await?)
        }
        TeamsCommand::Update { id, name, priority, audit_bodies, settings } => {
            let teams = settings.connection.client()?.teams();
            let (mut team, mut fields) = (teams.get(&id).await?, Fields::default());
            fields.set("display_name", &mut team.display_name, name);
            fields.set("models", &mut team.models, some(&settings.models));
            fields.set("priority", &mut team.priority, priority.map(|p| v1::Priority::from(p).into()));
            fields.set(
                "audit_bodies",
                &mut team.audit_bodies,
                audit_bodies.map(|kept| v1::BodyPolicy::from(kept).into()),
            );
            settings.common(&mut fields, &mut team.limits, &mut team.metadata);
            settings.connection.printer().one(&teams.update(team, fields.named("what is to be, as in --name")?).await?)
        }
        TeamsCommand::Delete(One { id, connection }) => {
            connection.client()?.teams().delete(&id).await?;
            connection.printer().note(&format!("{id} is gone"));
            Ok(())
        }
        TeamsCommand::AddMember { team, user, connection } => {
            connection.printer().one(&connection.client()?.teams().add_member(&team, &user).await?)
        }
        TeamsCommand::RemoveMember { team, user, connection } => {
            connection.printer().one(&connection.client()?.teams().remove_member(&team, &user).await?)
        }
    }
}

/// Runs a command about organizations.
pub(crate) async fn orgs(command: OrgsCommand) -> Result<(), Failure> {
    match command {
        OrgsCommand::Create { name, settings } => {
            let mut made = Organization { display_name: name, models: settings.models.clone(), ..Default::default() };
            settings.common(&mut Fields::default(), &mut made.limits, &mut made.metadata);
            let asked = v1::CreateOrganizationRequest { organization: Some(made), ..Default::default() };
            settings.connection.printer().one(&settings.connection.client()?.organizations().create(asked).await?)
        }
        OrgsCommand::List { connection } => {
            let filter = v1::ListOrganizationsRequest { page_size: 1_000, ..Default::default() };
            connection.printer().all(connection.client()?.organizations().list(filter)).await
        }
        OrgsCommand::Show(One { id, connection }) => {
            connection.printer().one(&connection.client()?.organizations().get(&id).await?)
        }
        OrgsCommand::Update { id, name, settings } => {
            let orgs = settings.connection.client()?.organizations();
            let (mut org, mut fields) = (orgs.get(&id).await?, Fields::default());
            fields.set("display_name", &mut org.display_name, name);
            fields.set("models", &mut org.models, some(&settings.models));
            settings.common(&mut fields, &mut org.limits, &mut org.metadata);
            settings.connection.printer().one(&orgs.update(org, fields.named("what is to be, as in --name")?).await?)
        }
        OrgsCommand::Delete(One { id, connection }) => {
            connection.client()?.organizations().delete(&id).await?;
            connection.printer().note(&format!("{id} is gone"));
            Ok(())
        }
    }
}

/// Runs a command about users.
pub(crate) async fn users(command: UsersCommand) -> Result<(), Failure> {
    match command {
        UsersCommand::Create { name, org, email, settings } => {
            no_models(&settings)?;
            let mut made = User { display_name: name, organization_id: org, email, ..User::default() };
            settings.common(&mut Fields::default(), &mut made.limits, &mut made.metadata);
            let asked = v1::CreateUserRequest { user: Some(made), ..Default::default() };
            settings.connection.printer().one(&settings.connection.client()?.users().create(asked).await?)
        }
        UsersCommand::List(Many { org, connection }) => {
            let filter = v1::ListUsersRequest { page_size: 1_000, organization_id: org, ..Default::default() };
            connection.printer().all(connection.client()?.users().list(filter)).await
        }
        UsersCommand::Show(One { id, connection }) => {
            connection.printer().one(&connection.client()?.users().get(&id).await?)
        }
        UsersCommand::Update { id, name, email, settings } => {
            no_models(&settings)?;
            let users = settings.connection.client()?.users();
            let (mut user, mut fields) = (users.get(&id).await?, Fields::default());
            fields.set("display_name", &mut user.display_name, name);
            fields.set("email", &mut user.email, email);
            settings.common(&mut fields, &mut user.limits, &mut user.metadata);
            settings.connection.printer().one(&users.update(user, fields.named("what is to be, as in --name")?).await?)
        }
        UsersCommand::Delete(One { id, connection }) => {
            connection.client()?.users().delete(&id).await?;
            connection.printer().note(&format!("{id} is gone"));
            Ok(())
        }
    }
}

fn no_models(settings: &Settings) -> Result<(), Failure> {
    if settings.models.is_empty() {
        return Ok(());
    }
    Err(Failure::Usage("--model: a user has no models; keys, teams and organizations do".into()))
}
