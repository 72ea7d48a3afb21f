//! LiteLLM's rows in the contract's words. What of a row is different here, or missing, is noted beside it.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tollgate_proto::v1::{BudgetScope, ImportKeyRequest, ImportedBudget, Key, KeyState, Organization, Team, User};

use super::{
    labels::{bound, labels, left_out, rights, short},
    rows::{KeyRow, OldSecretRow, OrganizationRow, ProjectRow, Row, TeamRow, Terms, UserRow},
    terms::{Spec, budgets, limits},
    window::{Clock, moment},
};

/// Labels under which LiteLLM's ids are kept: what a second run finds things by.
pub(super) const ORGANIZATION_ID: &str = "litellm_organization_id";
pub(super) const TEAM_ID: &str = "litellm_team_id";
pub(super) const USER_ID: &str = "litellm_user_id";
const PROJECT_ID: &str = "litellm_project_id";
/// What it had spent by LiteLLM's books, in dollars, when it was imported.
const SPEND: &str = "litellm_spend_usd";
/// The team of sessions in LiteLLM's own user interface.
const DASHBOARD: &str = "litellm-dashboard";

/// What rows refer to.
pub(super) struct Books {
    pub(super) budgets: HashMap<String, Terms>,
    /// What models are called in teams, by the row that a team names.
    pub(super) aliases: HashMap<i64, BTreeMap<String, String>>,
    pub(super) clock: Clock,
}

impl Books {
    /// The terms of the row of the budget table that is named.
    pub(super) fn named<'a>(&'a self, id: Option<&'a str>, notes: &mut Vec<String>) -> Option<(&'a str, &'a Terms)> {
        let id = id.filter(|id| !id.is_empty())?;
        let found = self.budgets.get(id).map(|terms| (id, terms));
        if found.is_none() {
            notes.push(format!("budget_id {:?} names no budget", short(id, 64)));
        }
        found
    }
}

/// Where a team lies.
#[derive(Default)]
pub(super) struct TeamPlace {
    /// Its id here; empty in a dry run that has not made it.
    pub(super) id: String,
    /// LiteLLM's id of its organization, or empty.
    pub(super) organization: String,
    /// Nothing here blocks a whole team, so its keys are.
    pub(super) blocked: bool,
}

/// Where a user lies.
#[derive(Default)]
pub(super) struct UserPlace {
    /// As of a team.
    pub(super) id: String,
    /// As of a team.
    pub(super) organization: String,
    /// What the user's own keys may use.
    pub(super) models: Vec<String>,
}

/// What is here, by LiteLLM's ids.
#[derive(Default)]
pub(super) struct World {
    pub(super) organizations: HashMap<String, String>,
    pub(super) teams: HashMap<String, TeamPlace>,
    pub(super) users: HashMap<String, UserPlace>,
    pub(super) projects: HashMap<String, Project>,
    /// By what the key is known by now.
    pub(super) old_secrets: HashMap<String, OldSecret>,
}

/// The secret that a key had before it was regenerated, which works yet.
pub(super) struct OldSecret {
    pub(super) token: String,
    sha256: Vec<u8>,
    pub(super) until: Timestamp,
}

/// What of a project bounds its keys: there is none here.
#[derive(Default)]
pub(super) struct Project {
    /// What its keys may use.
    pub(super) models: Vec<String>,
    /// Its keys are.
    pub(super) blocked: bool,
}

impl World {
    /// The id here of an organization of LiteLLM's.
    pub(super) fn organization(&self, id: &str) -> String {
        self.organizations.get(id).cloned().unwrap_or_default()
    }
}

/// A thing to make, its budgets, and what is to be said of it.
pub(super) struct Wanted<T> {
    pub(super) it: T,
    pub(super) name: String,
    pub(super) budgets: Vec<Spec>,
    pub(super) notes: Vec<String>,
}

fn name(text: Option<&str>, notes: &mut Vec<String>) -> String {
    let text = text.unwrap_or_default();
    let name = short(text, 256);
    if name.len() < text.len() {
        notes.push("its name is cut after 256 bytes".into());
    }
    name.to_owned()
}

fn mark(metadata: &mut HashMap<String, String>, label: &str, id: &str, terms: &Terms) {
    metadata.insert(label.to_owned(), short(id, 1_024).to_owned());
    if terms.spent() > 0 {
        metadata.insert(SPEND.to_owned(), tollgate_domain::NanoUsd(terms.spent()).to_string());
    }
}

/// An organization.
pub(super) fn organization(row: &Row<OrganizationRow>, books: &Books) -> Wanted<Organization> {
    let (it, notes) = (&row.it, &mut Vec::new());
    let shared = books.named(it.budget_id.as_deref(), notes);
    let (mut metadata, tags) = labels(it.metadata.as_ref(), notes);
    untagged(&tags, notes);
    mark(&mut metadata, ORGANIZATION_ID, &it.organization_id, &row.terms);
    left_out(&row.all, &["object_permission_id"], notes);
    let made = Organization {
        display_name: name(it.organization_alias.as_deref(), notes),
        models: bound(it.models.as_ref(), notes),
        limits: limits(&row.terms, shared.map(|(_, terms)| terms), notes),
        metadata,
        ..Organization::default()
    };
    let budgets = budgets(&row.terms, shared, &books.clock, notes);
    Wanted { name: made.display_name.clone(), it: made, budgets, notes: std::mem::take(notes) }
}

/// A team.
pub(super) fn team(row: &Row<TeamRow>, world: &World, books: &Books) -> Wanted<Team> {
    let (it, notes) = (&row.it, &mut Vec::new());
    let (mut metadata, tags) = labels(it.metadata.as_ref(), notes);
    untagged(&tags, notes);
    mark(&mut metadata, TEAM_ID, &it.team_id, &row.terms);
    const LEFT: [&str; 6] =
        ["object_permission_id", "router_settings", "policies", "access_group_ids", "tpd_limit", "model_aliases"];
    left_out(&row.all, &LEFT, notes);
    if let Some(id) = it.model_id {
        let aliases = books.aliases.get(&id).into_iter().flatten();
        notes.extend(aliases.map(|(alias, model)| {
            let (alias, model) = (short(alias, 64), short(model, 64));
            format!("model_aliases: {alias:?} means {model:?} in this team alone; give that model a second name in the configuration")
        }));
    }
    if it.blocked == Some(true) {
        notes.push("blocked: a team cannot be blocked here, so its keys are".into());
    }
    if let Some(organization) = it.organization_id.as_deref().filter(|id| !world.organizations.contains_key(*id)) {
        notes.push(format!("organization_id {:?} names no organization", short(organization, 64)));
    }
    let made = Team {
        organization_id: it.organization_id.as_deref().map(|id| world.organization(id)).unwrap_or_default(),
        display_name: name(it.team_alias.as_deref(), notes),
        models: bound(it.models.as_ref(), notes),
        limits: limits(&row.terms, None, notes),
        metadata,
        ..Team::default()
    };
    let budgets = budgets(&row.terms, None, &books.clock, notes);
    Wanted { name: made.display_name.clone(), it: made, budgets, notes: std::mem::take(notes) }
}

/// What is to be said of a project, whose keys move without it.
pub(super) fn project(row: &Row<ProjectRow>, books: &Books) -> Vec<String> {
    let (it, notes) = (&row.it, &mut Vec::new());
    notes.push("there are no projects: its keys lie in their team, and carry the label litellm_project_id".into());
    let shared = books.named(it.budget_id.as_deref(), notes);
    if shared.is_some_and(|(_, terms)| terms.max_budget.is_some()) {
        notes.push("its budget is not moved: put one on the keys, or on a team of its own".into());
    }
    left_out(&row.all, &["model_rpm_limit", "model_tpm_limit", "object_permission_id"], notes);
    std::mem::take(notes)
}

/// A user. `organization`: LiteLLM's id of where it is to lie.
pub(super) fn user(row: &Row<UserRow>, organization: &str, world: &World, books: &Books) -> Wanted<User> {
    let (it, notes) = (&row.it, &mut Vec::new());
    let (mut metadata, tags) = labels(it.metadata.as_ref(), notes);
    untagged(&tags, notes);
    mark(&mut metadata, USER_ID, &it.user_id, &row.terms);
    left_out(&row.all, &["object_permission_id", "policies", "tpd_limit", "sso_user_id"], notes);
    if let Some(role) = it.user_role.as_deref().filter(|role| role.contains("admin")) {
        notes.push(format!(
            "user_role {:?}: rights of admins are a key's here; make one with that role",
            short(role, 32)
        ));
    }
    let made = User {
        organization_id: world.organization(organization),
        display_name: name(it.user_alias.as_deref(), notes),
        email: short(it.user_email.as_deref().unwrap_or_default(), 256).to_owned(),
        limits: limits(&row.terms, None, notes),
        metadata,
        ..User::default()
    };
    let budgets = budgets(&row.terms, None, &books.clock, notes);
    let name = if made.display_name.is_empty() { made.email.clone() } else { made.display_name.clone() };
    Wanted { name, it: made, budgets, notes: std::mem::take(notes) }
}

fn untagged(tags: &[String], notes: &mut Vec<String>) {
    if !tags.is_empty() {
        notes.push("metadata.tags: only keys have tags here".into());
    }
}

/// Which organization a user is to lie in, of those that LiteLLM has it in: here there is one. Its own first, then the first it is a
/// member of, then those of its teams.
pub(super) fn home(own: Option<&str>, member_of: &[String], of_teams: &[&str], world: &World) -> String {
    let known = |id: &&str| world.organizations.contains_key(*id);
    let named = own.into_iter().chain(member_of.iter().map(String::as_str));
    named.filter(known).chain(of_teams.iter().copied().filter(known)).next().unwrap_or_default().to_owned()
}

/// What is shown of a key where it has no name.
pub(super) fn key_name(row: &KeyRow) -> &str {
    row.key_alias.as_deref().or(row.key_name.as_deref()).unwrap_or_default()
}

/// The hash that LiteLLM keeps; very old rows hold the secret itself.
fn sha256(token: &str) -> Option<Vec<u8>> {
    if token.starts_with("sk-") {
        return Some(Sha256::digest(token.as_bytes()).to_vec());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = token.as_bytes().chunks(2).map(|pair| Some((digit(pair[0])? << 4) | digit(*pair.get(1)?)?));
    pairs.collect::<Option<Vec<u8>>>().filter(|bytes| bytes.len() == 32)
}

const NO_HASH: &str = "its token is no SHA-256 hash in hexadecimal digits";

/// The secret from before a regeneration, or why it opens nothing.
pub(super) fn old_secret(row: &OldSecretRow, clock: &Clock) -> Result<OldSecret, String> {
    let sha256 = sha256(&row.token).ok_or(NO_HASH)?;
    let until = moment(&row.revoke_at).ok_or("revoke_at cannot be read")?;
    if until <= clock.now {
        return Err("its grace is over".into());
    }
    Ok(OldSecret { token: row.token.clone(), sha256, until })
}

fn instant(at: Timestamp) -> prost_types::Timestamp {
    tollgate_domain::timestamp(at.as_microsecond())
}

/// A key, or why it is none here.
pub(super) fn key(row: &Row<KeyRow>, world: &World, books: &Books) -> Result<Wanted<ImportKeyRequest>, String> {
    let (it, notes) = (&row.it, &mut Vec::new());
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    if it.team_id.as_deref() == Some(DASHBOARD) {
        return Err("is a session of LiteLLM's user interface".into());
    }
    let sha256 = sha256(&it.token).ok_or(NO_HASH)?;
    let expire_time = match it.expires.as_deref() {
        None => None,
        Some(expires) => Some(moment(expires).ok_or("expires cannot be read")?),
    };
    let (team_id, user_id) = (text(&it.team_id), text(&it.user_id));
    let team = world.teams.get(&team_id);
    let mut blocked = it.blocked == Some(true);
    if let (None, false) = (team, team_id.is_empty()) {
        notes.push(format!(
            "team_id {:?} names no team, whose rights are not known: the key is blocked",
            short(&team_id, 64)
        ));
        blocked = true;
    }
    if team.is_some_and(|team| team.blocked) {
        notes.push("its team is blocked: the key is".into());
        blocked = true;
    }
    let routes = it.allowed_routes.as_deref().unwrap_or_default();
    if !routes.is_empty() && !routes.iter().any(|route| route == "llm_api_routes") {
        notes.push("allowed_routes has no counterpart, and leaves out llm_api_routes: the key is blocked".into());
        blocked = true;
    }
    let project_id = text(&it.project_id);
    let project = world.projects.get(&project_id);
    if let (None, false) = (project, project_id.is_empty()) {
        notes.push(format!(
            "project_id {:?} names no project, whose rights are not known: the key is blocked",
            short(&project_id, 64)
        ));
        blocked = true;
    }
    if project.is_some_and(|project| project.blocked) {
        notes.push("its project is blocked: the key is".into());
        blocked = true;
    }
    let user = world.users.get(&user_id);
    let own = text(&it.organization_id);
    let organization = match (team, user) {
        (Some(team), _) => team.organization.clone(),
        _ if world.organizations.contains_key(&own) => own.clone(),
        (None, Some(user)) => user.organization.clone(),
        (None, None) => String::new(),
    };
    if !own.is_empty() && own != organization {
        notes.push(format!("organization_id {:?} is not that of its team, which counts", short(&own, 64)));
    }
    let user = match user {
        None if !user_id.is_empty() => {
            notes.push(format!("user_id {:?} names no user: the key has none", short(&user_id, 64)));
            None
        }
        Some(user) if user.organization != organization => {
            notes.push(format!("user_id {:?} lies in another organization: the key has no user", short(&user_id, 64)));
            None
        }
        user => user,
    };
    let shared = books.named(it.budget_id.as_deref(), notes);
    let (mut metadata, tags) = labels(it.metadata.as_ref(), notes);
    if row.terms.spent() > 0 {
        metadata.insert(SPEND.to_owned(), tollgate_domain::NanoUsd(row.terms.spent()).to_string());
    }
    if !project_id.is_empty() {
        metadata.insert(PROJECT_ID.to_owned(), short(&project_id, 1_024).to_owned());
    }
    const LEFT: [&str; 12] = [
        "aliases",
        "config",
        "permissions",
        "router_settings",
        "allowed_cache_controls",
        "policies",
        "access_group_ids",
        "object_permission_id",
        "budget_fallbacks",
        "agent_id",
        "auto_rotate",
        "tpd_limit",
    ];
    left_out(&row.all, &LEFT, notes);
    let of_user = user.filter(|_| team.is_none()).map(|user| ("user", user.models.as_slice()));
    let of_project = project.map(|project| ("project", project.models.as_slice()));
    let bounds: Vec<_> = of_user.into_iter().chain(of_project).collect();
    let made = Key {
        display_name: name(it.key_alias.as_deref(), notes),
        prefix: short(it.key_name.as_deref().unwrap_or_default(), 32).to_owned(),
        state: if blocked { KeyState::Blocked } else { KeyState::Active } as i32,
        models: rights(it.models.as_ref(), &bounds, notes),
        metadata,
        expire_time: expire_time.map(instant),
        organization_id: world.organization(&organization),
        team_id: team.map(|team| team.id.clone()).unwrap_or_default(),
        user_id: user.map(|user| user.id.clone()).unwrap_or_default(),
        limits: limits(&row.terms, shared.map(|(_, terms)| terms), notes),
        tags,
        ..Key::default()
    };
    let budgets = budgets(&row.terms, shared, &books.clock, notes);
    let of_key = budgets.iter().map(|spec| ImportedBudget {
        budget: Some(spec.clone().on(&BudgetScope::default()).budget),
        spent_nano_usd: spec.spent,
    });
    let old = world.old_secrets.get(&it.token);
    let request = ImportKeyRequest {
        key: Some(made),
        sha256: sha256.into(),
        budgets: of_key.collect(),
        old_sha256: old.map(|old| old.sha256.clone()).unwrap_or_default().into(),
        old_expire_time: old.map(|old| instant(old.until)),
        ..ImportKeyRequest::default()
    };
    Ok(Wanted { it: request, name: key_name(it).to_owned(), budgets, notes: std::mem::take(notes) })
}

/// Teams that users are members of, by user.
pub(super) fn teams_of_users<'a>(
    teams: &'a [Row<TeamRow>],
    memberships: impl Iterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<String, Vec<&'a TeamRow>> {
    let mut all = BTreeMap::<String, Vec<&TeamRow>>::new();
    let by_id: HashMap<&str, &TeamRow> = teams.iter().map(|row| (row.it.team_id.as_str(), &row.it)).collect();
    let mut add = |user: &str, team: &'a TeamRow| {
        let of_user = all.entry(user.to_owned()).or_default();
        if !of_user.iter().any(|known| known.team_id == team.team_id) {
            of_user.push(team);
        }
    };
    for row in teams {
        row.it.members().keys().for_each(|user| add(user, &row.it));
    }
    for (team, user) in memberships {
        if let Some(team) = by_id.get(team) {
            add(user, team);
        }
    }
    all
}
