//! `tollgate keys`.

use clap::{Subcommand, ValueEnum};
use tollgate_client::v1::{self, Key, KeyRole};

use crate::{
    Connection, Failure, One, amount,
    edit::{Fields, LimitArgs, Priority, label, labels_told, limits_told, word},
    output::{Row, print},
    time,
};

/// Commands about virtual keys.
#[derive(Subcommand, Debug)]
pub enum KeysCommand {
    /// Makes a key and prints its secret, this once.
    Create {
        /// A name for people.
        name: String,
        /// Models that it may use; `*`: all. May be given several times.
        #[arg(long = "model", default_value = "*")]
        models: Vec<String>,
        /// What it may do.
        #[arg(long, value_enum, default_value = "caller")]
        role: Role,
        /// Id of its organization.
        #[arg(long, default_value = "")]
        org: String,
        /// Id of its team.
        #[arg(long, default_value = "")]
        team: String,
        /// Id of its user.
        #[arg(long, default_value = "")]
        user: String,
        /// A hard budget without window, in dollars.
        #[arg(long, value_parser = amount::parse)]
        budget: Option<i64>,
        /// When it ends by itself: in `30d`, on `2027-01-01`, or RFC 3339.
        #[arg(long, value_parser = time::future)]
        expires: Option<prost_types::Timestamp>,
        /// A tag that each of its calls carries. May be given several times.
        #[arg(long = "tag")]
        tags: Vec<String>,
        /// A label, NAME=VALUE. May be given several times.
        #[arg(long = "metadata", value_parser = label)]
        metadata: Vec<(String, String)>,
        /// Priority of its calls.
        #[arg(long, value_enum)]
        priority: Option<Priority>,
        #[command(flatten)]
        /// Limits on its calls.
        limits: LimitArgs,
        /// Prints nothing but the secret.
        #[arg(long)]
        secret_only: bool,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Lists keys, oldest first.
    List {
        /// Only of this organization.
        #[arg(long, default_value = "")]
        org: String,
        /// Only of this team.
        #[arg(long, default_value = "")]
        team: String,
        /// Only of this user.
        #[arg(long, default_value = "")]
        user: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Shows a key; without an id the caller's own.
    Show {
        /// Its id.
        #[arg(default_value = "")]
        id: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Changes what is given of a key.
    Update {
        /// Its id.
        id: String,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        /// The models that it may use from now on. May be given several times.
        #[arg(long = "model")]
        models: Vec<String>,
        /// When it ends by itself.
        #[arg(long, value_parser = time::future)]
        expires: Option<prost_types::Timestamp>,
        /// The tags that its calls carry from now on. May be given several times.
        #[arg(long = "tag")]
        tags: Vec<String>,
        /// A label to set, NAME=VALUE; others stay. May be given several times.
        #[arg(long = "metadata", value_parser = label)]
        metadata: Vec<(String, String)>,
        /// Priority of its calls.
        #[arg(long, value_enum)]
        priority: Option<Priority>,
        #[command(flatten)]
        /// Limits on its calls; those that are not given stay.
        limits: LimitArgs,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Gives a key a new secret and prints it, this once.
    Rotate {
        /// Its id.
        id: String,
        /// How long the old secret goes on working: `0s`, `24h`, at most `7d`.
        #[arg(long, default_value = "0s", value_parser = time::seconds)]
        grace: i64,
        /// Prints nothing but the secret.
        #[arg(long)]
        secret_only: bool,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Refuses a key's calls until it is unblocked.
    Block(One),
    /// Takes the block away.
    Unblock(One),
    /// Ends a key for good.
    Revoke(One),
    /// Puts a key into another team, to another user, or both.
    #[command(group = clap::ArgGroup::new("place").required(true).multiple(true))]
    Move {
        /// Its id.
        id: String,
        /// Id of its new team; empty: none.
        #[arg(long, group = "place")]
        team: Option<String>,
        /// Id of its new user; empty: none.
        #[arg(long, group = "place")]
        user: Option<String>,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Takes over a key of another gateway, which goes on working here. Again with the same hash: the same key.
    Import {
        /// A name for people.
        name: String,
        /// SHA-256 of the secret, 64 hexadecimal digits; the secret must begin with `sk-`.
        #[arg(long, value_parser = sha256)]
        sha256: bytes::Bytes,
        /// Models that it may use; `*`: all. May be given several times.
        #[arg(long = "model", default_value = "*")]
        models: Vec<String>,
        /// Id of its organization.
        #[arg(long, default_value = "")]
        org: String,
        /// Id of its team.
        #[arg(long, default_value = "")]
        team: String,
        /// Id of its user.
        #[arg(long, default_value = "")]
        user: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
}

/// What a key may do.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub enum Role {
    /// Calls of models.
    Caller,
    /// Everything.
    PlatformAdmin,
    /// Governs its organization.
    OrganizationAdmin,
    /// Governs its team.
    TeamAdmin,
    /// Governs the keys of its user.
    Member,
    /// Reads spend, posts adjustments.
    Finance,
    /// Reads spend, budgets, keys and the audit log.
    Auditor,
}

impl From<Role> for KeyRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Caller => Self::Caller,
            Role::PlatformAdmin => Self::PlatformAdmin,
            Role::OrganizationAdmin => Self::OrganizationAdmin,
            Role::TeamAdmin => Self::TeamAdmin,
            Role::Member => Self::Member,
            Role::Finance => Self::Finance,
            Role::Auditor => Self::Auditor,
        }
    }
}

impl Row for Key {
    const COLUMNS: &'static [&'static str] = &[
        "id", "name", "prefix", "role", "state", "models", "team", "user", "org", "limits", "tags", "metadata",
        "created", "expires",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.display_name.clone(),
            self.prefix.clone(),
            word(self.role().as_str_name(), "KEY_ROLE_"),
            word(self.state().as_str_name(), "KEY_STATE_"),
            self.models.join(","),
            self.team_id.clone(),
            self.user_id.clone(),
            self.organization_id.clone(),
            limits_told(self.limits.as_ref()),
            self.tags.join(","),
            labels_told(&self.metadata),
            time::told(self.create_time.as_ref()),
            time::told(self.expire_time.as_ref()),
        ]
    }
}

/// Runs a command about keys.
pub(crate) async fn run(command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Create {
            name,
            models,
            role,
            org,
            team,
            user,
            budget,
            expires,
            tags,
            metadata,
            priority,
            limits,
            secret_only,
            connection,
        } => {
            let key = Key {
                display_name: name,
                role: KeyRole::from(role).into(),
                models,
                organization_id: org,
                team_id: team,
                user_id: user,
                expire_time: expires,
                tags,
                metadata: metadata.into_iter().collect(),
                priority: priority.map(v1::Priority::from).unwrap_or_default().into(),
                limits: limits.limits(),
                ..Key::default()
            };
            let asked = v1::CreateKeyRequest { key: Some(key), budget_nano_usd: budget, ..Default::default() };
            let made = connection.client()?.keys().create(asked).await?;
            secret(&connection, secret_only, made.key, &made.secret)
        }
        KeysCommand::List { org, team, user, connection } => {
            let filter = v1::ListKeysRequest {
                page_size: 1_000,
                organization_id: org,
                team_id: team,
                user_id: user,
                ..Default::default()
            };
            connection.printer().all(connection.client()?.keys().list(filter)).await
        }
        KeysCommand::Show { id, connection } => connection.printer().one(&connection.client()?.keys().get(&id).await?),
        KeysCommand::Update { id, name, models, expires, tags, metadata, priority, limits, connection } => {
            let keys = connection.client()?.keys();
            // With its etag: a change by somebody else in between is not overwritten.
            let mut key = keys.get(&id).await?;
            let mut fields = Fields::default();
            fields.set("display_name", &mut key.display_name, name);
            fields.set("models", &mut key.models, Some(models).filter(|models| !models.is_empty()));
            fields.set("expire_time", &mut key.expire_time, expires.map(Some));
            fields.set("tags", &mut key.tags, Some(tags).filter(|tags| !tags.is_empty()));
            if !metadata.is_empty() {
                key.metadata.extend(metadata);
                fields.name("metadata");
            }
            fields.set("priority", &mut key.priority, priority.map(|p| v1::Priority::from(p).into()));
            let limits = limits.over(key.limits);
            fields.set("limits", &mut key.limits, limits.map(Some));
            connection.printer().one(&keys.update(key, fields.named("--name, --model, --expires, --tag, ...")?).await?)
        }
        KeysCommand::Rotate { id, grace, secret_only, connection } => {
            let made = connection.client()?.keys().rotate(&id, grace).await?;
            secret(&connection, secret_only, made.key, &made.secret)
        }
        KeysCommand::Block(One { id, connection }) => {
            connection.printer().one(&connection.client()?.keys().block(&id).await?)
        }
        KeysCommand::Unblock(One { id, connection }) => {
            connection.printer().one(&connection.client()?.keys().unblock(&id).await?)
        }
        KeysCommand::Revoke(One { id, connection }) => {
            connection.printer().one(&connection.client()?.keys().revoke(&id).await?)
        }
        KeysCommand::Move { id, team, user, connection } => {
            connection.printer().one(&connection.client()?.teams().move_key(&id, team, user).await?)
        }
        KeysCommand::Import { name, sha256, models, org, team, user, connection } => {
            let key = Key {
                display_name: name,
                models,
                organization_id: org,
                team_id: team,
                user_id: user,
                ..Key::default()
            };
            let asked = v1::ImportKeyRequest { key: Some(key), sha256, ..v1::ImportKeyRequest::default() };
            let taken = connection.client()?.keys().import(asked).await?;
            connection.printer().one(&taken.key.unwrap_or_default())?;
            if taken.existed {
                connection.printer().note("It was there already, and is as it was.");
            }
            Ok(())
        }
    }
}

/// Reads a hash.
fn sha256(text: &str) -> Result<bytes::Bytes, String> {
    let digits = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let hash = digits
        .collect::<Option<Vec<u8>>>()
        .filter(|_| text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit()));
    hash.map(bytes::Bytes::from).ok_or_else(|| "a SHA-256 has 64 hexadecimal digits".to_owned())
}

/// A new secret with its key: the one time that it can be read.
fn secret(connection: &Connection, only: bool, key: Option<Key>, secret: &str) -> Result<(), Failure> {
    let key = key.unwrap_or_default();
    if only {
        return print(&format!("{secret}\n"));
    }
    if connection.output() == crate::output::Output::Table {
        connection.printer().one(&key)?;
        print(&format!("\n{secret}\n"))?;
        connection.printer().note("That is the secret. It is shown this once.");
        return Ok(());
    }
    connection.printer().one(&v1::CreateKeyResponse { key: Some(key), secret: secret.to_owned(), ..Default::default() })
}

impl Row for v1::CreateKeyResponse {
    const COLUMNS: &'static [&'static str] = &["id", "secret"];

    fn cells(&self) -> Vec<String> {
        vec![self.key.as_ref().map(|key| key.id.clone()).unwrap_or_default(), self.secret.clone()]
    }
}
