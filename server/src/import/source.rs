//! LiteLLM's database, read in one snapshot and never written to.

use std::{str::FromStr, time::Duration};

use anyhow::{Context, bail};
use futures::{StreamExt, stream::BoxStream};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

const PATIENCE: Duration = Duration::from_secs(15);

/// A table, and the columns that its rows are read in the order of.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub(super) name: &'static str,
    order: &'static str,
}

pub(super) const BUDGETS: Table = Table { name: "LiteLLM_BudgetTable", order: "budget_id" };
pub(super) const ORGANIZATIONS: Table = Table { name: "LiteLLM_OrganizationTable", order: "organization_id" };
pub(super) const TEAMS: Table = Table { name: "LiteLLM_TeamTable", order: "team_id" };
pub(super) const USERS: Table = Table { name: "LiteLLM_UserTable", order: "user_id" };
pub(super) const MEMBERSHIPS: Table = Table { name: "LiteLLM_TeamMembership", order: "team_id, user_id" };
pub(super) const ORGANIZATION_MEMBERSHIPS: Table =
    Table { name: "LiteLLM_OrganizationMembership", order: "user_id, organization_id" };
pub(super) const CUSTOMERS: Table = Table { name: "LiteLLM_EndUserTable", order: "user_id" };
pub(super) const TAGS: Table = Table { name: "LiteLLM_TagTable", order: "tag_name" };
pub(super) const ALIASES: Table = Table { name: "LiteLLM_ModelTable", order: "id" };
pub(super) const PROJECTS: Table = Table { name: "LiteLLM_ProjectTable", order: "project_id" };
pub(super) const OLD_SECRETS: Table = Table { name: "LiteLLM_DeprecatedVerificationToken", order: "revoke_at, token" };
pub(super) const KEYS: Table = Table { name: "LiteLLM_VerificationToken", order: "token" };

/// Tables with data of people that stay where they are, and what they hold.
pub(super) const LEFT: [(&str, &str); 7] = [
    ("LiteLLM_SpendLogs", "calls of the past"),
    ("LiteLLM_ProxyModelTable", "models, encrypted with LiteLLM's salt key"),
    ("LiteLLM_CredentialsTable", "credentials, encrypted with LiteLLM's salt key"),
    ("LiteLLM_ObjectPermissionTable", "permissions on MCP servers and vector stores"),
    ("LiteLLM_GuardrailsTable", "guardrails"),
    ("LiteLLM_PromptTable", "prompts"),
    ("LiteLLM_AuditLog", "the audit log"),
];

/// The database.
pub(super) struct Source {
    connection: PgConnection,
    tables: Vec<String>,
}

impl Source {
    /// Connects, and sees from here on what is there at this moment.
    pub(super) async fn connect(url: &str) -> anyhow::Result<Self> {
        let options = PgConnectOptions::from_str(url)
            .context("--database-url: is no URL of a PostgreSQL database")?
            .statement_cache_capacity(0)
            .application_name("tollgate import");
        let connecting = tokio::time::timeout(PATIENCE, options.connect()).await;
        let connected = connecting.context("--database-url: no answer within 15 seconds")?;
        let mut connection = connected.context("--database-url: the database cannot be reached")?;
        sqlx::query("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut connection).await?;
        let schema = schema(url);
        if let Some(schema) = &schema {
            let set = sqlx::query("SELECT set_config('search_path', quote_ident($1), true)").bind(schema);
            set.execute(&mut connection).await?;
        }
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = ANY (current_schemas(false))",
        )
        .fetch_all(&mut connection)
        .await?;
        let source = Self { connection, tables };
        if !source.has(KEYS.name) {
            let place = schema.map_or("the schema public".to_owned(), |schema| format!("the schema {schema:?}"));
            bail!("--database-url: there is no table {:?} in {place}; `?schema=NAME` says where it is", KEYS.name);
        }
        Ok(source)
    }

    fn has(&self, table: &str) -> bool {
        self.tables.iter().any(|name| name == table)
    }

    /// How many rows there are; none of a table that this version does not have.
    pub(super) async fn count(&mut self, table: Table) -> anyhow::Result<u64> {
        if !self.has(table.name) {
            return Ok(0);
        }
        let select = format!("SELECT count(*) FROM \"{}\"", table.name);
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(select)).fetch_one(&mut self.connection).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Rows as JSON, as they arrive.
    pub(super) fn rows(&mut self, table: Table) -> BoxStream<'_, anyhow::Result<String>> {
        if !self.has(table.name) {
            return futures::stream::empty().boxed();
        }
        // A number keeps its digits in JSON. Passwords are none of our business.
        let select =
            format!("SELECT (to_jsonb(t) - 'password')::text FROM \"{}\" AS t ORDER BY {}", table.name, table.order);
        let rows = sqlx::query_scalar(AssertSqlSafe(select)).fetch(&mut self.connection);
        rows.map(move |row| row.with_context(|| format!("reading {}", table.name))).boxed()
    }

    /// All rows of a table that is not large.
    pub(super) async fn all(&mut self, table: Table) -> anyhow::Result<Vec<String>> {
        let mut rows = self.rows(table);
        let mut all = Vec::new();
        while let Some(row) = rows.next().await {
            all.push(row?);
        }
        Ok(all)
    }

    /// Which tables hold what is not taken over.
    pub(super) async fn left(&mut self) -> anyhow::Result<Vec<String>> {
        let mut left = Vec::new();
        for (table, what) in LEFT {
            if !self.has(table) {
                continue;
            }
            let select = format!("SELECT EXISTS (SELECT 1 FROM \"{table}\")");
            if sqlx::query_scalar(AssertSqlSafe(select)).fetch_one(&mut self.connection).await? {
                left.push(format!("{table}: {what}"));
            }
        }
        Ok(left)
    }

    /// Ends the snapshot.
    pub(super) async fn close(self) {
        // It is gone in any case.
        let _ = self.connection.close().await;
    }
}

/// The schema that Prisma's URLs name in a parameter of their own.
fn schema(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    url.query_pairs()
        .find(|(name, _)| name == "schema")
        .map(|(_, schema)| schema.into_owned())
        .filter(|s| s != "public")
}
