//! `tollgate import litellm`: keys, teams, organizations, users, budgets and what was spent, from LiteLLM's database into a gateway.
//!
//! Things are made in the order in which they refer to one another, each once: what is there is recognised by LiteLLM's id, which it
//! carries as a label, and a key by its hash. So an import that was stopped anywhere is run again.

mod amount;
mod bar;
mod command;
mod gateway;
mod labels;
mod report;
mod rows;
mod source;
mod terms;
mod translate;
mod window;

use std::collections::{BTreeMap, HashMap};

pub use command::{Litellm, litellm};
use futures::{StreamExt, future::join_all};
pub use report::{Count, Outcome, Report, Row as ReportRow};
use tollgate_proto::v1::{BudgetScope, ImportKeyRequest, ScopeKind};

use self::{
    gateway::{Done, Gateway},
    labels::short,
    rows::{
        AliasesRow, BudgetRow, CustomerRow, KeyRow, MembershipRow, OldSecretRow, OrganizationMembershipRow,
        OrganizationRow, ProjectRow, Row, TagRow, TeamRow, UserRow,
    },
    source::{Source, Table},
    terms::{Spec, budgets},
    translate::{Books, TeamPlace, UserPlace, Wanted, World, home, teams_of_users},
    window::Clock,
};

/// What the report calls a secret that a key had before it was regenerated.
const OLD_SECRET: &str = "old secret";
/// So many keys are moved at once: the gateway takes those over together that wait together.
const KEYS_AT_ONCE: usize = 128;

/// Tells how far it is: rows that are done, all rows, what is being moved.
type Progress<'a> = &'a dyn Fn(u64, u64, &str);

struct Import<'a> {
    gateway: Gateway,
    books: Books,
    world: World,
    report: Report,
    all: u64,
    progress: Progress<'a>,
}

/// Moves everything, or tells what would be moved.
async fn run(mut source: Source, gateway: Gateway, clock: Clock, dry_run: bool, progress: Progress<'_>) -> Report {
    let books = Books { budgets: HashMap::new(), aliases: HashMap::new(), clock };
    let report = Report { dry_run, ..Report::default() };
    let mut import = Import { gateway, books, world: World::default(), report, all: 0, progress };
    if let Err(error) = import.everything(&mut source).await {
        import.report.ended = format!("{error:#}");
    }
    source.close().await;
    import.report
}

impl Import<'_> {
    async fn everything(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let tables =
            [source::ORGANIZATIONS, source::TEAMS, source::USERS, source::CUSTOMERS, source::TAGS, source::PROJECTS];
        for table in tables.into_iter().chain([source::OLD_SECRETS, source::KEYS]) {
            self.all += source.count(table).await?;
        }
        let shared: Vec<Row<BudgetRow>> = self.read(source, source::BUDGETS, "budget").await?;
        self.books.budgets = shared.into_iter().map(|row| (row.it.budget_id, row.terms)).collect();
        for row in self.read::<AliasesRow>(source, source::ALIASES, "team").await? {
            match row.it.aliases() {
                Ok(aliases) => drop(self.books.aliases.insert(row.it.id, aliases)),
                Err(_) => self.unreadable("team", "its model_aliases cannot be read".into()),
            }
        }
        for row in self.read(source, source::ORGANIZATIONS, "organization").await? {
            self.organization(&row).await?;
        }
        let teams: Vec<Row<TeamRow>> = self.read(source, source::TEAMS, "team").await?;
        for row in &teams {
            self.team(row).await?;
        }
        let memberships: Vec<Row<MembershipRow>> = self.read(source, source::MEMBERSHIPS, "member").await?;
        let pairs = memberships.iter().map(|row| (row.it.team_id.as_str(), row.it.user_id.as_str()));
        let teams_of = teams_of_users(&teams, pairs);
        let mut organizations = HashMap::<String, Vec<String>>::new();
        let rows: Vec<Row<OrganizationMembershipRow>> =
            self.read(source, source::ORGANIZATION_MEMBERSHIPS, "member").await?;
        for row in rows {
            organizations.entry(row.it.user_id).or_default().push(row.it.organization_id);
        }
        for row in self.read::<UserRow>(source, source::USERS, "user").await? {
            let of_teams: Vec<&str> = teams_of
                .get(&row.it.user_id)
                .into_iter()
                .flatten()
                .map(|team| team.organization_id.as_deref().unwrap_or_default())
                .collect();
            let member_of = organizations.get(&row.it.user_id).map(Vec::as_slice).unwrap_or_default();
            let organization = home(row.it.organization_id.as_deref(), member_of, &of_teams, &self.world);
            self.user(&row, organization, member_of).await?;
        }
        let terms = memberships.iter().map(|row| ((row.it.team_id.as_str(), row.it.user_id.as_str()), row)).collect();
        self.members(&teams_of, &terms).await?;
        for row in self.read(source, source::CUSTOMERS, "customer").await? {
            self.customer(&row).await?;
        }
        for row in self.read(source, source::TAGS, "tag").await? {
            self.tag(&row).await?;
        }
        for row in self.read(source, source::PROJECTS, "project").await? {
            self.project(&row);
        }
        for row in self.read::<OldSecretRow>(source, source::OLD_SECRETS, OLD_SECRET).await? {
            self.old_secret(row.it);
        }
        self.report.left = source.left().await?;
        let mut rows = source.rows(source::KEYS).chunks(KEYS_AT_ONCE);
        while let Some(rows) = rows.next().await {
            let rows = rows.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
            self.keys(&rows).await?;
        }
        for old in std::mem::take(&mut self.world.old_secrets).into_values() {
            self.not_old_secret(&old.token, "the key that it opens is not taken over".into());
        }
        Ok(())
    }

    /// Keeps a secret from before a regeneration for the key that it opens, of several the one that works longest.
    fn old_secret(&mut self, row: OldSecretRow) {
        match translate::old_secret(&row, &self.books.clock) {
            Ok(old) => {
                if let Some(other) = self.world.old_secrets.insert(row.active_token_id, old) {
                    self.not_old_secret(&other.token, "another of its key works longer".into());
                }
            }
            Err(why) => self.not_old_secret(&row.token, why),
        }
    }

    fn not_old_secret(&mut self, token: &str, why: String) {
        let done = Done { outcome: Outcome::Skipped, id: String::new(), note: Some(why) };
        self.tell(OLD_SECRET, shown(token), "", done, Vec::new());
    }

    /// What its keys need of a project; it is told, and not moved.
    fn project(&mut self, row: &Row<ProjectRow>) {
        let it = &row.it;
        let (models, blocked) = (it.models.clone().unwrap_or_default(), it.blocked == Some(true));
        self.world.projects.insert(it.project_id.clone(), translate::Project { models, blocked });
        let notes = translate::project(row, &self.books);
        let done = Done { outcome: Outcome::Skipped, id: String::new(), note: None };
        self.tell("project", &it.project_id, it.project_alias.as_deref().unwrap_or_default(), done, notes);
    }

    /// All rows of a table that can be read; the others are told.
    async fn read<T: for<'de> serde::Deserialize<'de>>(
        &mut self,
        source: &mut Source,
        table: Table,
        entity: &'static str,
    ) -> anyhow::Result<Vec<Row<T>>> {
        let mut rows = Vec::new();
        for text in source.all(table).await? {
            match Row::read(&text) {
                Ok(row) => rows.push(row),
                Err(why) => self.unreadable(entity, why),
            }
        }
        Ok(rows)
    }

    fn unreadable(&mut self, entity: &'static str, why: String) {
        let done = Done { outcome: Outcome::Skipped, id: String::new(), note: Some(why) };
        self.tell(entity, "", "", done, Vec::new());
    }

    fn tell(&mut self, entity: &'static str, id: &str, name: &str, done: Done, mut notes: Vec<String>) {
        notes.extend(done.note);
        let (id, name) = (short(id, 256).to_owned(), name.to_owned());
        self.report.add(ReportRow { entity, id, name, outcome: done.outcome, tollgate_id: done.id, notes });
        (self.progress)(self.report.rows.len() as u64, self.all, entity);
    }

    /// The budgets of something that is there. What is refused of them makes the whole refused, so that it is looked at.
    async fn budgets(&mut self, scope: &BudgetScope, specs: Vec<Spec>, done: &mut Done) -> anyhow::Result<()> {
        if done.outcome == Outcome::Refused {
            return Ok(());
        }
        for spec in specs {
            let (spent, name) = (spec.spent, spec.budget.display_name.clone());
            let made = self.gateway.budget(spec.on(scope)).await?;
            match made.outcome {
                Outcome::Moved => self.opened(spent),
                Outcome::There | Outcome::Skipped => {}
                Outcome::Refused => {
                    done.outcome = Outcome::Refused;
                    done.note = Some(format!("budget {name:?}: {}", made.note.unwrap_or_default()));
                }
            }
        }
        Ok(())
    }

    fn opened(&mut self, spent: i64) {
        self.report.budgets += 1;
        self.report.opening_nano_usd = self.report.opening_nano_usd.saturating_add(spent);
    }

    async fn organization(&mut self, row: &Row<OrganizationRow>) -> anyhow::Result<()> {
        let wanted = translate::organization(row, &self.books);
        let id = row.it.organization_id.as_str();
        let mut done = self.gateway.organization(id, wanted.it).await?;
        if done.outcome != Outcome::Refused {
            self.world.organizations.insert(id.to_owned(), done.id.clone());
        }
        self.budgets(&scope(ScopeKind::Organization, &done.id), wanted.budgets, &mut done).await?;
        self.tell("organization", id, &wanted.name, done, wanted.notes);
        Ok(())
    }

    async fn team(&mut self, row: &Row<TeamRow>) -> anyhow::Result<()> {
        let wanted = translate::team(row, &self.world, &self.books);
        let id = row.it.team_id.as_str();
        let mut done = self.gateway.team(id, wanted.it).await?;
        if done.outcome != Outcome::Refused {
            let named = row.it.organization_id.clone().unwrap_or_default();
            let organization = if self.world.organizations.contains_key(&named) { named } else { String::new() };
            let place = TeamPlace { id: done.id.clone(), organization, blocked: row.it.blocked == Some(true) };
            self.world.teams.insert(id.to_owned(), place);
        }
        self.budgets(&scope(ScopeKind::Team, &done.id), wanted.budgets, &mut done).await?;
        self.tell("team", id, &wanted.name, done, wanted.notes);
        Ok(())
    }

    async fn user(&mut self, row: &Row<UserRow>, organization: String, member_of: &[String]) -> anyhow::Result<()> {
        let mut wanted = translate::user(row, &organization, &self.world, &self.books);
        for other in member_of.iter().filter(|other| **other != organization) {
            wanted.notes.push(format!("a user lies in one organization: not in {:?}", short(other, 64)));
        }
        let id = row.it.user_id.as_str();
        let mut done = self.gateway.user(id, wanted.it).await?;
        if done.outcome != Outcome::Refused {
            let models = row.it.models.clone().unwrap_or_default();
            self.world.users.insert(id.to_owned(), UserPlace { id: done.id.clone(), organization, models });
        }
        self.budgets(&scope(ScopeKind::User, &done.id), wanted.budgets, &mut done).await?;
        self.tell("user", id, &wanted.name, done, wanted.notes);
        Ok(())
    }

    async fn members(
        &mut self,
        teams_of: &BTreeMap<String, Vec<&TeamRow>>,
        memberships: &HashMap<(&str, &str), &Row<MembershipRow>>,
    ) -> anyhow::Result<()> {
        for (user, team) in teams_of.iter().flat_map(|(user, teams)| teams.iter().map(move |team| (user, *team))) {
            let name = format!("{}/{user}", team.team_id);
            let skipped = |why: &str| Done { outcome: Outcome::Skipped, id: String::new(), note: Some(why.to_owned()) };
            let places = (self.world.teams.get(&team.team_id), self.world.users.get(user));
            let (Some(place), Some(member)) = places else {
                self.tell("member", &name, "", skipped("there is no such user"), Vec::new());
                continue;
            };
            if place.organization != member.organization {
                self.tell("member", &name, "", skipped("user and team lie in different organizations"), Vec::new());
                continue;
            }
            let mut notes = Vec::new();
            if team.members().get(user) == Some(&true) {
                notes.push("is an admin of the team: make a key with the role TEAM_ADMIN".into());
            }
            let scope = BudgetScope { team_id: place.id.clone(), ..scope(ScopeKind::Member, &member.id) };
            let mut done = self.gateway.member(&team.team_id, &scope.team_id, &scope.id).await?;
            if let Some(row) = memberships.get(&(team.team_id.as_str(), user.as_str())) {
                let shared = self.books.named(row.it.budget_id.as_deref(), &mut notes);
                let specs = budgets(&row.terms, shared, &self.books.clock, &mut notes);
                self.budgets(&scope, specs, &mut done).await?;
            }
            self.tell("member", &name, "", done, notes);
        }
        Ok(())
    }

    async fn customer(&mut self, row: &Row<CustomerRow>) -> anyhow::Result<()> {
        let (id, mut notes) = (row.it.user_id.as_str(), Vec::new());
        labels::left_out(&row.all, &["allowed_model_region", "default_model", "object_permission_id"], &mut notes);
        let shared = self.books.named(row.it.budget_id.as_deref(), &mut notes);
        let mut specs = budgets(&row.terms, shared, &self.books.clock, &mut notes);
        if row.it.blocked == Some(true) {
            notes.push("blocked: becomes a budget of nothing".into());
            let budget = tollgate_proto::v1::Budget { display_name: "LiteLLM blocked".into(), ..Default::default() };
            specs.push(Spec { budget, spent: 0 });
        }
        self.labelled("customer", ScopeKind::Customer, id, specs, notes).await
    }

    async fn tag(&mut self, row: &Row<TagRow>) -> anyhow::Result<()> {
        let mut notes = Vec::new();
        labels::left_out(&row.all, &["models", "model_info"], &mut notes);
        let shared = self.books.named(row.it.budget_id.as_deref(), &mut notes);
        let specs = budgets(&row.terms, shared, &self.books.clock, &mut notes);
        self.labelled("tag", ScopeKind::Tag, &row.it.tag_name, specs, notes).await
    }

    /// What is a name of calls here, and nothing but its budgets.
    async fn labelled(
        &mut self,
        entity: &'static str,
        kind: ScopeKind,
        id: &str,
        specs: Vec<Spec>,
        notes: Vec<String>,
    ) -> anyhow::Result<()> {
        if specs.is_empty() {
            let note = Some("has no budget, and needs no row here".to_owned());
            self.tell(entity, id, "", Done { outcome: Outcome::Skipped, id: String::new(), note }, notes);
            return Ok(());
        }
        let before = self.report.budgets;
        let mut done = Done { outcome: Outcome::There, id: String::new(), note: None };
        self.budgets(&scope(kind, id), specs, &mut done).await?;
        if done.outcome == Outcome::There && self.report.budgets > before {
            done.outcome = Outcome::Moved;
        }
        self.tell(entity, id, "", done, notes);
        Ok(())
    }

    /// Keys, which do not refer to one another: together, so that the gateway's journal is waited for once.
    async fn keys(&mut self, rows: &[String]) -> anyhow::Result<()> {
        let mut read = Vec::new();
        for row in rows {
            match Row::<KeyRow>::read(row) {
                Ok(row) => read.push((translate::key(&row, &self.world, &self.books), row)),
                Err(why) => self.unreadable("key", why),
            }
        }
        let moves = read.iter().map(async |(wanted, _)| match wanted {
            Ok(wanted) => self.gateway.key(wanted.it.clone()).await,
            Err(why) => Ok(Done { outcome: Outcome::Skipped, id: String::new(), note: Some(why.clone()) }),
        });
        let done = join_all(moves).await;
        let mut ended = Ok(());
        for ((wanted, row), done) in read.into_iter().zip(done) {
            match done {
                Ok(done) => self.key(&row.it, wanted.ok(), done),
                // Those beside it may be there: they are told first.
                Err(error) => ended = Err(error),
            }
        }
        ended
    }

    fn key(&mut self, row: &KeyRow, wanted: Option<Wanted<ImportKeyRequest>>, done: Done) {
        let id = shown(&row.token);
        let Some(wanted) = wanted else { return self.tell("key", id, translate::key_name(row), done, Vec::new()) };
        if done.outcome == Outcome::Moved {
            wanted.budgets.iter().for_each(|spec| self.opened(spec.spent));
        }
        let of_key = Done { outcome: done.outcome, id: done.id.clone(), note: None };
        self.tell("key", id, &wanted.name, done, wanted.notes);
        if let Some(old) = self.world.old_secrets.remove(&row.token) {
            let note = match of_key.outcome {
                Outcome::Moved => {
                    format!("works until {}, unless it is a key of its own since an earlier import", old.until)
                }
                _ => "nothing of it was taken over now".to_owned(),
            };
            self.tell(OLD_SECRET, shown(&old.token), &wanted.name, of_key, vec![note]);
        }
    }
}

/// What is shown of a token: what is no hash may be a secret.
fn shown(token: &str) -> &str {
    if token.starts_with("sk-") { "" } else { short(token, 8) }
}

fn scope(kind: ScopeKind, id: &str) -> BudgetScope {
    BudgetScope { kind: kind as i32, id: id.to_owned(), ..BudgetScope::default() }
}
