//! `tollgate import litellm`: a LiteLLM database, its schema rebuilt in a real PostgreSQL, moves into a gateway, and its keys go on working.

use std::process::{Command, Output};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tollgate_client::{Client, reason, v1};
use tollgate_services::{Postgres, Redis};
use tollgate_tests::{
    provider::ScriptedProvider,
    support::{Gateway, GatewayBuilder, gateway::locate, http::Caller, keys::virtual_key},
};

use crate::support::{World, eventually, hello};

const SCHEMA: &str = include_str!("litellm/schema.sql");
const ROWS: &str = include_str!("litellm/rows.sql");
/// Keys of the rows that may make calls.
const PLAIN: &str = "sk-plain-0123456789";
const BUDGET: &str = "sk-budget-0123456789";

/// LiteLLM's database, and a gateway to move it to.
struct Move {
    postgres: Postgres,
    database: String,
    url: String,
    world: World,
    dir: tempfile::TempDir,
}

/// A deployment whose calls with ten tokens of output cost a tenth of a cent.
fn exact(builder: GatewayBuilder) -> GatewayBuilder {
    let price = json!({"input": "0", "output": "100"});
    let exact = json!({"provider": "scripted", "model": "upstream", "price": price, "max_output_tokens": 4096});
    builder.deployment("exact", exact)
}

impl Move {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With statements that run after the rows are there.
    async fn with(statements: &[&'static str]) -> Self {
        let postgres = Postgres::start();
        let database = postgres.database();
        let mut connection = PgConnection::connect(&database.url).await.unwrap();
        for sql in [SCHEMA, ROWS].iter().chain(statements) {
            sqlx::raw_sql(*sql).execute(&mut connection).await.unwrap();
        }
        let world = World::with(exact).await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("admin.key"), format!("{}\n", world.admin)).unwrap();
        Self { postgres, database: database.name, url: database.url, world, dir }
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(locate().unwrap());
        command.args(["import", "litellm", "--database-url", &self.url, "--url", &self.world.gateway.url()]);
        command.arg("--key-file").arg(self.dir.path().join("admin.key"));
        command.arg("--report").arg(self.dir.path().join("report.json")).args(more);
        command
    }

    /// Imports; what was printed and the report.
    fn import(&self, more: &[&str]) -> (String, Value) {
        let (output, text) = run(self.command(more));
        assert!(output.status.success(), "{text}");
        let report = std::fs::read_to_string(self.dir.path().join("report.json")).unwrap();
        (text, serde_json::from_str(&report).unwrap())
    }

    /// Status and error code of a call that costs a tenth of a cent.
    async fn call(&self, secret: &str) -> (u16, String) {
        call(&self.world.gateway, secret, json!({})).await
    }

    /// Keys that were imported.
    async fn keys(&self) -> Vec<v1::Key> {
        let all = v1::ListKeysRequest { page_size: 1_000, ..Default::default() };
        let keys = self.world.admin().await.keys().list_keys(all).await.unwrap().into_inner().keys;
        keys.into_iter().filter(|key| !matches!(key.display_name.as_str(), "test" | "admin" | "")).collect()
    }

    async fn key(&self, name: &str) -> v1::Key {
        let keys = self.keys().await;
        keys.into_iter().find(|key| key.display_name == name).unwrap_or_else(|| panic!("{name} is not here"))
    }

    async fn budgets(&self) -> Vec<v1::Budget> {
        let all = v1::ListBudgetsRequest { page_size: 1_000, ..Default::default() };
        self.world.admin().await.budgets().list_budgets(all).await.unwrap().into_inner().budgets
    }

    async fn budget(&self, kind: v1::ScopeKind, name: &str) -> v1::Budget {
        let of_kind = |b: &v1::Budget| b.scope.as_ref().is_some_and(|s| s.kind() == kind) && b.display_name == name;
        let found = self.budgets().await.into_iter().find(of_kind);
        found.unwrap_or_else(|| panic!("no {name:?} on {kind:?}"))
    }

    async fn check_ledger(&self) {
        let checked = self.world.admin().await.budgets().check_ledger(v1::CheckLedgerRequest {}).await.unwrap();
        assert_eq!(checked.into_inner().findings, vec![]);
    }

    /// How many records there are of an action.
    async fn recorded(&self, action: &str) -> usize {
        self.world.records().await.iter().filter(|record| record.action == action).count()
    }
}

fn run(mut command: Command) -> (Output, String) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output, text)
}

async fn call(gateway: &Gateway, secret: &str, more: Value) -> (u16, String) {
    let mut body = hello(json!({"model": "exact", "max_completion_tokens": 10}));
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let reply = Caller::bearer(secret).post(&gateway.v1("chat/completions"), &body).await.unwrap();
    (reply.status.as_u16(), reply.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// The notes of a row.
fn notes(report: &Value, entity: &str, name: &str) -> String {
    let rows = report["rows"].as_array().unwrap().iter();
    let row = rows.filter(|row| row["entity"] == entity).find(|row| row["name"] == name || row["id"] == name);
    row.unwrap_or_else(|| panic!("no {entity} {name} in {report:#}"))["notes"].to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_tells_what_would_move_and_changes_nothing() {
    let it = Move::new().await;
    let before = it.budgets().await.len();
    let (text, report) = it.import(&[]);
    assert!(text.contains("nothing was changed; --apply does it"), "{text}");
    assert_eq!((&report["dry_run"], &report["ended"]), (&json!(true), &json!("")));
    assert_eq!(report["counts"]["key"], json!({"moved": 8, "there": 0, "skipped": 2, "refused": 0}));
    assert_eq!(report["counts"]["team"]["moved"], 2);
    assert_eq!(it.call(PLAIN).await, (401, "invalid_api_key".into()));
    assert_eq!((it.keys().await.len(), it.budgets().await.len()), (0, before));
    let teams = it.world.admin().await.tenancy().list_teams(v1::ListTeamsRequest::default()).await.unwrap();
    assert!(teams.into_inner().teams.is_empty());
    assert_eq!(it.recorded("key.import").await, 0);
    // Nor is a gateway needed for it.
    let mut command = Command::new(locate().unwrap());
    command.args(["import", "litellm", "--database-url", &it.url]);
    let (output, alone) = run(command);
    assert!(output.status.success() && alone.contains("nothing was changed"), "{alone}");
    // What is printed is for eyes, what is read is for LiteLLM: neither holds a secret.
    for secret in ["hunter2", "hunter3", PLAIN] {
        assert!(!text.contains(secret) && !alone.contains(secret) && !report.to_string().contains(secret), "{secret}");
    }
    let spent = it.postgres.sql(&it.database, "SELECT sum(spend) FROM \"LiteLLM_VerificationToken\"").unwrap();
    assert_eq!(spent, "0.2685", "LiteLLM's database is only read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_go_on_working_with_the_budgets_and_the_spend_that_they_had() {
    let mut it = Move::new().await;
    let (text, report) = it.import(&["--apply"]);
    assert_eq!(report["counts"]["key"], json!({"moved": 8, "there": 0, "skipped": 2, "refused": 0}), "{text}");
    // 20 cents of a cent were left, a call costs ten.
    let budget = it.budget(v1::ScopeKind::Key, "LiteLLM max_budget").await;
    assert_eq!((budget.limit_nano_usd, budget.spent_nano_usd), (20_000_000, 18_500_000));
    let calendar = budget.window.unwrap().window.unwrap();
    let v1::budget_window::Window::Calendar(calendar) = calendar else { panic!("{calendar:?}") };
    assert_eq!(calendar.unit(), v1::CalendarUnit::Month);
    assert_eq!(it.call(BUDGET).await, (200, String::new()));
    assert_eq!(it.call(BUDGET).await, (429, "budget_exceeded".into()));
    assert_eq!(it.call(PLAIN).await, (200, String::new()));
    // Once used they are kept as every other key is, and work on, also from the journal alone.
    eventually("both are kept anew", async || it.recorded("key.rehash").await == 2).await;
    it.world.gateway.kill9();
    it.world.gateway.restart().await;
    assert_eq!(it.call(PLAIN).await, (200, String::new()));
    assert_eq!(it.call(BUDGET).await, (429, "budget_exceeded".into()));
    assert_eq!(it.recorded("key.rehash").await, 2, "once is enough");
    it.check_ledger().await;
    // What was spent elsewhere is explained, and is no spend of this gateway's.
    let opened: Vec<_> =
        it.world.entries().await.into_iter().filter(|e| e.kind() == v1::LedgerEntryKind::Opening).collect();
    assert_eq!(opened.iter().map(|e| e.cost_nano_usd).sum::<i64>(), report["opening_nano_usd"].as_i64().unwrap());
    let spend = it.world.admin().await.budgets().get_spend(v1::GetSpendRequest::default()).await.unwrap().into_inner();
    assert_eq!(spend.total.unwrap().cost_nano_usd, 3_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_of_models_come_along_with_what_was_spent_of_each() {
    let row = r#"INSERT INTO "LiteLLM_VerificationToken" ("token", "key_alias", "model_max_budget", "model_spend") VALUES
        (encode(sha256('sk-models-0123456789'), 'hex'), 'models', '{"exact": {"budget_limit": 0.002, "time_period": "30d"}}',
         '{"exact": 0.0015}')"#;
    let it = Move::with(&[row]).await;
    it.import(&["--apply"]);
    let budget = it.budget(v1::ScopeKind::Key, "LiteLLM model_max_budget exact").await;
    assert_eq!((budget.limit_nano_usd, budget.spent_nano_usd), (2_000_000, 1_500_000));
    let scope = budget.scope.unwrap();
    assert_eq!((scope.id, scope.model.as_str()), (it.key("models").await.id, "exact"));
    // A call costs a tenth of a cent, and half of that is left.
    assert_eq!(it.call("sk-models-0123456789").await, (429, "budget_exceeded".into()));
    let other = call(&it.world.gateway, "sk-models-0123456789", json!({"model": "scripted"})).await;
    assert_eq!(other, (200, String::new()), "the budget is of one model");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_of_the_budget_table_bind_the_keys_that_name_the_row() {
    let rows = r#"INSERT INTO "LiteLLM_BudgetTable" ("budget_id", "rpm_limit") VALUES ('b-rate', 1);
        INSERT INTO "LiteLLM_VerificationToken" ("token", "key_alias", "budget_id") VALUES
        (encode(sha256('sk-shared-0123456789'), 'hex'), 'shared', 'b-rate')"#;
    let it = Move::with(&[rows]).await;
    it.import(&["--apply"]);
    assert_eq!(it.call("sk-shared-0123456789").await, (200, String::new()));
    assert_eq!(it.call("sk-shared-0123456789").await, (429, "rate_limit_exceeded".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_there_is_refused_here() {
    let it = Move::new().await;
    it.import(&["--apply"]);
    for (secret, status, code) in [
        ("sk-blocked-0123456789", 403, "blocked_api_key"),
        ("sk-expired-0123456789", 401, "expired_api_key"),
        ("sk-closed-0123456789", 403, "blocked_api_key"),
        ("sk-manager-0123456789", 403, "blocked_api_key"),
        ("sk-session-0123456789", 401, "invalid_api_key"),
        ("sk-unknown-0123456789", 401, "invalid_api_key"),
        ("sk-plain-01234567890", 401, "invalid_api_key"),
    ] {
        assert_eq!(it.call(secret).await, (status, code.into()), "{secret}");
    }
    // A hash is no key.
    let hash =
        it.postgres.sql(&it.database, "SELECT token FROM \"LiteLLM_VerificationToken\" WHERE key_alias = 'plain'");
    assert_eq!(it.call(&hash.unwrap()).await.0, 401);
    let limited = "sk-limited-0123456789";
    let statuses = [it.call(limited).await, it.call(limited).await, it.call(limited).await];
    assert_eq!(statuses.map(|(_, code)| code), ["".to_owned(), "".into(), "rate_limit_exceeded".into()]);
    // A user's list of models bounds keys without a team.
    assert_eq!(it.call("sk-own-0123456789").await.0, 200);
    assert_eq!(call(&it.world.gateway, "sk-own-0123456789", json!({"model": "scripted"})).await.0, 403);
    // Two cents of a dollar's hundredth are left for the customer, one for nobody who was blocked.
    assert_eq!(call(&it.world.gateway, PLAIN, json!({"user": "shop"})).await.1, "budget_exceeded");
    assert_eq!(call(&it.world.gateway, PLAIN, json!({"user": "thief"})).await.1, "budget_exceeded");
    assert_eq!(call(&it.world.gateway, PLAIN, json!({"user": "nobody"})).await.0, 200);
    eventually("three are kept anew", async || it.recorded("key.rehash").await >= 3).await;
    assert_eq!(it.recorded("key.rehash").await, 3, "what is refused is kept as it came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_rights_and_labels_are_those_of_the_rows() {
    let it = Move::new().await;
    let (text, report) = it.import(&["--apply"]);
    let mut tenancy = it.world.admin().await.tenancy();
    let organizations = tenancy.list_organizations(v1::ListOrganizationsRequest::default()).await.unwrap().into_inner();
    let [organization] = organizations.organizations.try_into().unwrap();
    assert_eq!(organization.display_name, "Acme");
    let teams = tenancy.list_teams(v1::ListTeamsRequest::default()).await.unwrap().into_inner().teams;
    let team = teams.iter().find(|team| team.display_name == "Search").unwrap();
    assert_eq!(
        (&team.organization_id, &team.models[..]),
        (&organization.id, &["scripted".to_owned(), "exact".into()][..])
    );
    assert_eq!(team.limits.unwrap().requests_per_minute, Some(1_000));
    let users = tenancy.list_users(v1::ListUsersRequest::default()).await.unwrap().into_inner().users;
    let ann = users.iter().find(|user| user.email == "ann@example.com").unwrap();
    assert_eq!((&ann.organization_id, ann.metadata["litellm_user_id"].as_str()), (&organization.id, "ann"));
    assert_eq!(team.member_ids.len(), 2, "ann and bob");

    let plain = it.key("plain").await;
    assert_eq!((&plain.organization_id, &plain.team_id, &plain.user_id), (&organization.id, &team.id, &ann.id));
    assert_eq!(
        (plain.prefix.as_str(), &plain.tags[..], &plain.models[..]),
        ("sk-...6789", &["prod".into()][..], &["*".into()][..])
    );
    assert_eq!(plain.metadata, [("cost_centre".to_owned(), "42".to_owned())].into());
    assert_eq!(it.key("own").await.metadata["litellm_spend_usd"], "0.25");

    for (kind, name, limit, spent) in [
        (v1::ScopeKind::Organization, "LiteLLM budget b-org max_budget", 100_000_000_000, 12_500_000_000),
        (v1::ScopeKind::Organization, "LiteLLM budget b-org soft_budget", 80_000_000_000, 12_500_000_000),
        (v1::ScopeKind::Team, "LiteLLM max_budget", 10_000_000_000, 3_750_000_000),
        (v1::ScopeKind::User, "LiteLLM max_budget", 50_000_000_000, 100_000_000),
        (v1::ScopeKind::Member, "LiteLLM budget b-member max_budget", 500_000_000, 300_000_000),
        (v1::ScopeKind::Customer, "LiteLLM budget b-customer max_budget", 2_000_000, 1_500_000),
        // Its window was over.
        (v1::ScopeKind::Tag, "LiteLLM budget b-tag max_budget", 3_000_000_000, 0),
    ] {
        // Of a customer and a tag there is no standing before a call names them: the ledger has it.
        let budget = it.budget(kind, name).await;
        assert_eq!((budget.limit_nano_usd, budget.spent_nano_usd), (limit, spent), "{name}");
    }
    let team = it.budget(v1::ScopeKind::Team, "LiteLLM max_budget").await;
    let left = team.reset_time.unwrap().seconds - team.window_start_time.unwrap().seconds;
    assert_eq!(left, 864_000, "ten days, from LiteLLM's next reset on and back");

    // What is different or missing is told by row, without a value that may be a secret.
    for (entity, name, noted) in [
        ("key", "plain", "aliases has no counterpart"),
        ("key", "plain", "metadata.logging has no counterpart"),
        ("key", "plain", "metadata.model_rpm_limit has no counterpart"),
        ("key", "manager", "allowed_routes has no counterpart"),
        ("key", "closed", "its team is blocked"),
        ("key", "odd", "is no SHA-256 hash"),
        ("team", "team-2", "a team cannot be blocked here"),
        ("user", "carol", "rights of admins are a key's here"),
        ("member", "team-1/gone", "there is no such user"),
        ("member", "team-2/ann", "different organizations"),
        ("member", "team-1/ann", "TEAM_ADMIN"),
        ("customer", "nobody", "has no budget"),
        ("customer", "thief", "a budget of nothing"),
        ("tag", "prod", "its window was over"),
    ] {
        assert!(notes(&report, entity, name).contains(noted), "{entity} {name}: {}", notes(&report, entity, name));
    }
    assert_eq!(report["left"], json!(["LiteLLM_SpendLogs: calls of the past"]));
    assert!(text.contains("not taken over: LiteLLM_SpendLogs"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projects_and_names_of_a_team_are_told_and_bound_the_keys_as_before() {
    let more = r#"
        CREATE TABLE "LiteLLM_ModelTable" ("id" SERIAL PRIMARY KEY, "aliases" JSONB);
        INSERT INTO "LiteLLM_ModelTable" VALUES (7, '{"fast": "exact", "smart": "scripted"}');
        UPDATE "LiteLLM_TeamTable" SET "model_id" = 7 WHERE "team_id" = 'team-1';
        CREATE TABLE "LiteLLM_ProjectTable" ("project_id" TEXT PRIMARY KEY, "project_alias" TEXT, "team_id" TEXT, "budget_id" TEXT,
            "models" TEXT[], "blocked" BOOLEAN NOT NULL DEFAULT false, "model_rpm_limit" JSONB);
        INSERT INTO "LiteLLM_ProjectTable" VALUES ('p-1', 'Checkout', 'team-1', 'b-tag', '{scripted}', false, '{"exact": 3}'),
            ('p-2', 'Shelved', NULL, NULL, '{}', true, NULL);
        ALTER TABLE "LiteLLM_VerificationToken" ADD COLUMN "project_id" TEXT;
        INSERT INTO "LiteLLM_VerificationToken" ("token", "key_alias", "team_id", "project_id", "models") VALUES
            (encode(sha256('sk-bound-0123456789'), 'hex'), 'bound', 'team-1', 'p-1', '{}'),
            (encode(sha256('sk-shelved-0123456789'), 'hex'), 'shelved', NULL, 'p-2', '{}'),
            (encode(sha256('sk-lost-0123456789'), 'hex'), 'lost', NULL, 'p-3', '{}');"#;
    let it = Move::with(&[more]).await;
    let (_, report) = it.import(&["--apply"]);
    for (entity, name, noted) in [
        ("team", "team-1", r#"model_aliases: \"fast\" means \"exact\""#),
        ("team", "team-1", r#"model_aliases: \"smart\" means \"scripted\""#),
        ("project", "p-1", "its budget is not moved"),
        ("project", "p-1", "model_rpm_limit has no counterpart"),
        ("project", "p-2", "there are no projects"),
        ("key", "bound", "its project may use"),
        ("key", "shelved", "its project is blocked"),
        ("key", "lost", "names no project"),
    ] {
        assert!(notes(&report, entity, name).contains(noted), "{entity} {name}: {}", notes(&report, entity, name));
    }
    assert_eq!(report["counts"]["project"]["skipped"], 2);
    let key = it.key("bound").await;
    assert_eq!((key.models, key.metadata["litellm_project_id"].as_str()), (vec!["scripted".to_owned()], "p-1"));
    // What the project did not allow is refused, what it allowed is not, and no key of a blocked project works.
    assert_eq!(it.call("sk-bound-0123456789").await.0, 403);
    assert_eq!(call(&it.world.gateway, "sk-bound-0123456789", json!({"model": "scripted"})).await.0, 200);
    for secret in ["sk-shelved-0123456789", "sk-lost-0123456789"] {
        assert_eq!(it.call(secret).await, (403, "blocked_api_key".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_was_killed_is_run_again_and_doubles_nothing() {
    let more = "INSERT INTO \"LiteLLM_VerificationToken\" (token, key_alias, max_budget, spend, team_id)
        SELECT encode(sha256(('sk-many-' || n)::bytea), 'hex'), 'many ' || n, 1, 0.1, 'team-1' FROM generate_series(1, 300) AS n";
    let it = Move::with(&[more]).await;
    let mut first = it.command(&["--apply"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    eventually("some keys are here", async || it.keys().await.len() > 20).await;
    first.kill().unwrap();
    first.wait().unwrap();
    let (_, report) = it.import(&["--apply"]);
    let count = &report["counts"]["key"];
    assert_eq!(count["moved"].as_i64().unwrap() + count["there"].as_i64().unwrap(), 308);
    assert!(count["there"].as_i64().unwrap() > 20, "{count}");
    let entries = it.world.entries().await.len();
    let counted = (it.keys().await.len(), it.budgets().await.len());
    assert_eq!(counted.0, 308);

    // Another admin's key finds what is there as well.
    let other = v1::Key { role: v1::KeyRole::PlatformAdmin as i32, ..Default::default() };
    let asked = v1::CreateKeyRequest { key: Some(other), ..Default::default() };
    let other = it.world.admin().await.keys().create_key(asked).await.unwrap().into_inner().secret;
    std::fs::write(it.dir.path().join("admin.key"), other).unwrap();
    let (_, report) = it.import(&["--apply"]);
    for (entity, count) in report["counts"].as_object().unwrap() {
        assert_eq!((&count["moved"], &count["refused"]), (&json!(0), &json!(0)), "{entity}");
    }
    assert_eq!((report["budgets"].as_i64(), it.world.entries().await.len()), (Some(0), entries));
    assert_eq!((it.keys().await.len(), it.budgets().await.len()), counted);
    assert_eq!(it.call("sk-many-300").await.0, 200);
    // What was revoked here does not come back.
    let id = it.key("many 1").await.id;
    it.world.admin().await.keys().revoke_key(v1::RevokeKeyRequest { id }).await.unwrap();
    it.import(&["--apply"]);
    assert_eq!(it.call("sk-many-1").await.0, 401);
    it.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_schemas_lack_columns_and_tables() {
    let older = "ALTER TABLE \"LiteLLM_VerificationToken\" DROP COLUMN allowed_routes, DROP COLUMN budget_id, DROP COLUMN organization_id,
            DROP COLUMN model_max_budget, DROP COLUMN model_spend, DROP COLUMN blocked;
        ALTER TABLE \"LiteLLM_TeamTable\" DROP COLUMN organization_id, DROP COLUMN model_max_budget;
        DROP TABLE \"LiteLLM_OrganizationTable\", \"LiteLLM_OrganizationMembership\", \"LiteLLM_TeamMembership\", \"LiteLLM_TagTable\",
            \"LiteLLM_EndUserTable\", \"LiteLLM_BudgetTable\", \"LiteLLM_SpendLogs\"";
    let it = Move::with(&[older]).await;
    let (_, report) = it.import(&["--apply"]);
    assert_eq!(report["counts"]["key"]["moved"], 8);
    assert_eq!(it.call(PLAIN).await.0, 200);
    // Another schema is looked into where the URL names it, as LiteLLM's does.
    let mut elsewhere = Command::new(locate().unwrap());
    elsewhere.args(["import", "litellm", "--database-url", &format!("{}?schema=other", it.url)]);
    let (output, text) = run(elsewhere);
    assert!(!output.status.success() && text.contains("there is no table \"LiteLLM_VerificationToken\""), "{text}");
    let moved = "CREATE SCHEMA other; ALTER TABLE \"LiteLLM_VerificationToken\" SET SCHEMA other";
    it.postgres.sql(&it.database, moved).unwrap();
    let mut elsewhere = Command::new(locate().unwrap());
    elsewhere.args(["import", "litellm", "--database-url", &format!("{}?schema=other&connection_limit=5", it.url)]);
    let (output, text) = run(elsewhere);
    assert!(output.status.success() && text.contains("key"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_what_was_imported_and_its_first_use() {
    let (redis, provider, admin) = (Redis::start(), ScriptedProvider::start().await, virtual_key());
    let it = Move::new().await;
    let ours = it.postgres.database();
    let mut replicas = Vec::new();
    for name in ["r1", "r2"] {
        let store = json!({"postgres_url": ours.url, "redis_url": redis.url(), "replica_id": name,
                           "secret": "a secret that all replicas of this test share"});
        let builder = Gateway::over(&provider).set("/store", store);
        let builder = builder.key(json!({"name": "admin", "secret": admin, "role": "platform_admin"}));
        replicas.push(exact(builder).start().await);
    }
    std::fs::write(it.dir.path().join("admin.key"), &admin).unwrap();
    let mut command = Command::new(locate().unwrap());
    command.args(["import", "litellm", "--apply", "--database-url", &it.url, "--url", &replicas[0].url()]);
    command.arg("--key-file").arg(it.dir.path().join("admin.key"));
    let (output, text) = run(command);
    assert!(output.status.success(), "{text}");

    // What LiteLLM kept is nowhere in the store, so a thief of it cannot try words against it.
    let kept = |secret: &str| {
        let hash = format!("sha256('{secret}')");
        let count = format!("SELECT count(*) FROM object WHERE position({hash} IN object) > 0");
        it.postgres.sql(&ours.name, &count).unwrap()
    };
    assert_eq!(kept(PLAIN), "0");
    let replica = &replicas[1];
    eventually("the other replica knows", async || call(replica, PLAIN, json!({})).await.0 == 200).await;
    // The budget counts over both, with what was spent before.
    let mut passed = 0;
    for n in 0..6 {
        match call(&replicas[n % 2], BUDGET, json!({})).await {
            (200, _) => passed += 1,
            (429, code) => assert!(code == "budget_exceeded" || code == "budget_held", "{code}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(passed, 1);
    let client = Client::connect(&replicas[0].grpc(), &admin).await.unwrap();
    let rehashed = async || {
        let filter = v1::AuditFilter { action_prefix: "key.rehash".into(), ..Default::default() };
        let asked = v1::QueryRecordsRequest { filter: Some(filter), ..Default::default() };
        let mut records = client.audit().query_records(asked).await.unwrap().into_inner();
        let mut count = 0;
        while records.message().await.unwrap().is_some() {
            count += 1;
        }
        count
    };
    eventually("both keys are kept anew", async || rehashed().await == 2).await;
    for replica in &replicas {
        assert_eq!(call(replica, PLAIN, json!({})).await.0, 200);
    }
    // The other replica may be posting its last call while this one reads.
    let clean = async || {
        let checked = client.budgets().check_ledger(v1::CheckLedgerRequest {}).await.unwrap().into_inner();
        checked.findings.is_empty()
    };
    eventually("the ledger says what it must", clean).await;
    assert_eq!(rehashed().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_gives_an_imported_key_a_secret_of_our_own() {
    let it = Move::new().await;
    it.import(&["--apply"]);
    let id = it.key("plain").await.id;
    let mut keys = it.world.admin().await.keys();
    let asked = v1::RotateKeyRequest { id: id.clone(), grace_seconds: Some(600), ..Default::default() };
    let new = keys.rotate_key(asked).await.unwrap().into_inner().secret;
    assert_eq!((it.call(PLAIN).await.0, it.call(&new).await.0), (200, 200), "during the grace both");
    let asked = v1::RotateKeyRequest { id, ..Default::default() };
    let newer = keys.rotate_key(asked).await.unwrap().into_inner().secret;
    assert_eq!((it.call(PLAIN).await.0, it.call(&new).await.0, it.call(&newer).await.0), (401, 401, 200));
    assert_eq!(it.recorded("key.rehash").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_regenerated_keeps_its_old_secret_for_the_grace_that_it_had() {
    let more = r#"
        CREATE TABLE "LiteLLM_DeprecatedVerificationToken" ("id" TEXT PRIMARY KEY, "token" TEXT NOT NULL UNIQUE,
            "active_token_id" TEXT NOT NULL, "revoke_at" TIMESTAMP(3) NOT NULL, "created_at" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP);
        INSERT INTO "LiteLLM_DeprecatedVerificationToken" ("id", "token", "active_token_id", "revoke_at") VALUES
            ('1', encode(sha256('sk-before-0123456789'), 'hex'), encode(sha256('sk-budget-0123456789'), 'hex'),
             now() AT TIME ZONE 'UTC' + interval '1 hour'),
            ('2', encode(sha256('sk-earlier-0123456789'), 'hex'), encode(sha256('sk-budget-0123456789'), 'hex'),
             now() AT TIME ZONE 'UTC' + interval '30 minutes'),
            ('3', encode(sha256('sk-past-0123456789'), 'hex'), encode(sha256('sk-plain-0123456789'), 'hex'),
             now() AT TIME ZONE 'UTC' - interval '1 minute'),
            ('4', encode(sha256('sk-stray-0123456789'), 'hex'), encode(sha256('sk-gone-0123456789'), 'hex'),
             now() AT TIME ZONE 'UTC' + interval '1 hour');"#;
    let before = "sk-before-0123456789";
    let unknown = (401, "invalid_api_key".to_owned());
    let mut it = Move::with(&[more]).await;
    let (text, report) = it.import(&[]);
    assert_eq!(report["counts"]["old secret"], json!({"moved": 1, "there": 0, "skipped": 3, "refused": 0}), "{text}");
    assert!(notes(&report, "old secret", "budget").contains("works until"), "{report:#}");
    for why in ["another of its key works longer", "its grace is over", "the key that it opens is not taken over"] {
        assert!(text.contains(why), "{why}: {text}");
    }
    assert!(!text.contains("Deprecated"), "nothing of it is left: {text}");
    assert_eq!(it.call(before).await, unknown);

    let (_, report) = it.import(&["--apply"]);
    assert_eq!(report["counts"]["old secret"]["moved"], 1);
    // It is the same key, with the budget of one: a call costs a tenth of a cent, and one and a half are left.
    assert_eq!(it.call(before).await, (200, String::new()));
    assert_eq!(it.recorded("key.rehash").await, 0, "the key is known by its other secret");
    assert_eq!(it.call(BUDGET).await, (429, "budget_exceeded".into()));
    for secret in ["sk-earlier-0123456789", "sk-past-0123456789", "sk-stray-0123456789"] {
        assert_eq!(it.call(secret).await, unknown, "{secret}");
    }
    // Also once the key is kept anew, and from the journal alone.
    eventually("the key is kept anew", async || it.recorded("key.rehash").await == 1).await;
    it.world.gateway.kill9();
    it.world.gateway.restart().await;
    assert_eq!(it.call(before).await, (429, "budget_exceeded".into()));
    let (_, report) = it.import(&["--apply"]);
    assert_eq!(report["counts"]["old secret"]["there"], 1);
    // A rotation here ends it.
    let id = it.key("budget").await.id;
    let asked = v1::RotateKeyRequest { id, grace_seconds: Some(600), ..Default::default() };
    it.world.admin().await.keys().rotate_key(asked).await.unwrap();
    assert_eq!(it.call(before).await, unknown);
    assert_eq!(it.call(BUDGET).await.1, "budget_exceeded");
    it.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_import_may_not_bring_is_refused_by_name() {
    let world = World::start().await;
    let (mut keys, mut budgets) = (world.admin().await.keys(), world.admin().await.budgets());
    let sha256 = bytes::Bytes::from_static(&[7; 32]);
    let key = |key: v1::Key| v1::ImportKeyRequest { key: Some(key), sha256: sha256.clone(), ..Default::default() };
    let budget = |spent_nano_usd, limit_nano_usd| v1::ImportedBudget {
        budget: Some(v1::Budget { limit_nano_usd, ..Default::default() }),
        spent_nano_usd,
    };
    let plain = v1::Key { models: vec!["*".into()], ..Default::default() };
    let later = Some(prost_types::Timestamp { seconds: 32_503_680_000, nanos: 0 });
    let other = bytes::Bytes::from_static(&[8; 32]);
    let with_old = |old_sha256: &bytes::Bytes, old_expire_time| v1::ImportKeyRequest {
        old_sha256: old_sha256.clone(),
        old_expire_time,
        ..key(plain.clone())
    };
    for (asked, field) in [
        (with_old(&other.slice(1..), later), "old_sha256"),
        (with_old(&sha256, later), "old_sha256"),
        (with_old(&bytes::Bytes::new(), later), "old_sha256"),
        (with_old(&other, None), "old_expire_time"),
        (v1::ImportKeyRequest { sha256: sha256.slice(1..), ..key(plain.clone()) }, "sha256"),
        (key(v1::Key { role: v1::KeyRole::PlatformAdmin as i32, ..plain.clone() }), "key.role"),
        (key(v1::Key { state: v1::KeyState::Revoked as i32, ..plain.clone() }), "key.state"),
        (key(v1::Key { prefix: "x".repeat(33), ..plain.clone() }), "key.prefix"),
        (key(v1::Key { team_id: "team_none".into(), ..plain.clone() }), "key.team_id"),
        (v1::ImportKeyRequest { budgets: vec![budget(-1, 1)], ..key(plain.clone()) }, "budgets[0].spent_nano_usd"),
        (
            v1::ImportKeyRequest { budgets: vec![budget(0, 1), budget(i64::MAX, 1)], ..key(plain.clone()) },
            "budgets[1].spent_nano_usd",
        ),
        (v1::ImportKeyRequest { budgets: vec![budget(0, -1)], ..key(plain.clone()) }, "budget.limit_nano_usd"),
        (v1::ImportKeyRequest { budgets: vec![budget(0, 1); 17], ..key(plain.clone()) }, "budgets"),
    ] {
        for validate_only in [true, false] {
            let asked = v1::ImportKeyRequest { validate_only, ..asked.clone() };
            let status = keys.import_key(asked).await.unwrap_err();
            assert_eq!(reason(&status), Some(v1::ErrorReason::InvalidField), "{field}");
            let details = format!("{:?}", tonic_types::StatusExt::get_error_details(&status));
            assert!(details.contains(&format!("{field:?}")), "{field}: {details}");
        }
    }
    // Who governs one organization learns nothing of a key of another by its hash.
    let there = keys.import_key(with_old(&other, later)).await.unwrap().into_inner();
    assert!(!there.existed && there.key.unwrap().state() == v1::KeyState::Active);
    let place = world.team(v1::Team::default()).await.organization_id;
    let role = v1::KeyRole::PlatformAdmin as i32;
    let bound = world.key(v1::Key { role, organization_id: place, ..Default::default() }).await;
    let bound = Client::connect(&world.gateway.grpc(), &bound.secret).await.unwrap();
    for validate_only in [true, false] {
        let asked = v1::ImportKeyRequest { validate_only, ..key(plain.clone()) };
        let status = bound.keys().import_key(asked).await.unwrap_err();
        assert_eq!(reason(&status), Some(v1::ErrorReason::AlreadyExists));
    }
    // What a key was known by before is no key of its own, and what is a key of its own stays one.
    let taken = v1::ImportKeyRequest { sha256: other, ..key(plain.clone()) };
    assert_eq!(reason(&keys.import_key(taken).await.unwrap_err()), Some(v1::ErrorReason::AlreadyExists));
    let third = bytes::Bytes::from_static(&[9; 32]);
    let third = v1::ImportKeyRequest { sha256: third, ..with_old(&sha256, later) };
    assert!(!keys.import_key(third).await.unwrap().into_inner().existed);
    assert!(keys.import_key(key(plain)).await.unwrap().into_inner().existed);
    // Only who governs the platform says what was spent elsewhere, and of one balance.
    let each = v1::BudgetScope { kind: v1::ScopeKind::Customer as i32, id: "*".into(), ..Default::default() };
    let asked = v1::CreateBudgetRequest {
        budget: Some(v1::Budget { scope: Some(each), limit_nano_usd: 1, ..Default::default() }),
        opening_nano_usd: Some(1),
        ..Default::default()
    };
    let status = budgets.create_budget(asked.clone()).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::InvalidField));
    let team = world.team(v1::Team::default()).await;
    let role = v1::KeyRole::OrganizationAdmin as i32;
    let admin = v1::Key { role, organization_id: team.organization_id.clone(), ..Default::default() };
    let admin = Client::connect(&world.gateway.grpc(), &world.key(admin).await.secret).await.unwrap();
    let scope = v1::BudgetScope { kind: v1::ScopeKind::Team as i32, id: team.id, ..Default::default() };
    let asked = v1::CreateBudgetRequest {
        budget: Some(v1::Budget { scope: Some(scope), limit_nano_usd: 5, ..Default::default() }),
        ..asked
    };
    let status = admin.budgets().create_budget(asked.clone()).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::RightsExceeded));
    // An opening balance is no attempt that could be corrected.
    budgets.create_budget(asked).await.unwrap();
    let opening = world.entries().await.pop().unwrap();
    assert_eq!((opening.kind(), opening.cost_nano_usd), (v1::LedgerEntryKind::Opening, 1));
    let finance = world.key(v1::Key { role: v1::KeyRole::Finance as i32, ..Default::default() }).await;
    let finance = Client::connect(&world.gateway.grpc(), &finance.secret).await.unwrap();
    let adjustment = v1::Adjustment {
        attempt_id: opening.attempt_id,
        amount_nano_usd: -1,
        reason: "wrong".into(),
        ..Default::default()
    };
    let asked = v1::CreateAdjustmentRequest { adjustment: Some(adjustment), ..Default::default() };
    let status = finance.budgets().create_adjustment(asked).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::InvalidField));
}
