//! Organizations, teams, users and members.

use std::sync::Arc;

use tollgate_domain::{Error, new_id, timestamp};
use tollgate_pipeline::Caller;
use tollgate_proto::v1::{
    BodyPolicy, Budget, BudgetScope, CreateOrganizationRequest, CreateTeamRequest, CreateUserRequest, ErrorReason,
    KeyState, ListOrganizationsRequest, ListTeamsRequest, ListUsersRequest, Organization, ScopeKind, Team,
    UpdateOrganizationRequest, UpdateTeamRequest, UpdateUserRequest, User,
};
use tollgate_store::{Object, Thing};

use crate::{
    Action, Authorized, Control, Done, Principal, Resource, act,
    budgets::{check as check_budget, new_budget},
    is_allowed,
    keys::{MAX_BUDGETS, owned, placed, swap, violation, within},
    page, rights,
};

/// Refuses a change of what somebody else changed since it was read.
pub(crate) fn stale(asked: &str, etag: &str) -> Result<(), Error> {
    if !asked.is_empty() && asked != etag {
        let message = "it was changed by somebody else; read it again, then repeat the change";
        return Err(Error::new(ErrorReason::EtagMismatch, message));
    }
    Ok(())
}

fn in_use(resource: &'static str, id: &str, by: &str) -> Error {
    let message = format!("the {resource} still has {by}; move, revoke or delete them first");
    Error::new(ErrorReason::ResourceInUse, message).with("resource", resource).with("id", id)
}

fn mask(paths: Option<prost_types::FieldMask>, set: &[(&'static str, bool)]) -> Vec<String> {
    let paths = paths.map(|m| m.paths).unwrap_or_default();
    if !paths.is_empty() {
        return paths;
    }
    set.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()).collect()
}

fn unknown_path(path: &str, known: &str) -> Error {
    Error::invalid_field("update_mask", format!("{path:?} cannot be changed; {known} can"))
}

/// Checks what the three have in common.
fn check(
    field: &str,
    display_name: &str,
    metadata: &std::collections::HashMap<String, String>,
    limits: Option<&tollgate_proto::v1::RateLimits>,
    request_id: &str,
) -> Result<(), Error> {
    let mut violations = Vec::new();
    if display_name.len() > 256 {
        violations.push(violation(&format!("{field}.display_name"), "must be at most 256 bytes"));
    }
    if !within(metadata) {
        let description = "must have at most 32 pairs of at most 128 and 1024 bytes";
        violations.push(violation(&format!("{field}.metadata"), description));
    }
    if request_id.len() > 128 {
        violations.push(violation("request_id", "must be at most 128 bytes"));
    }
    rights::check_limits(limits, &format!("{field}.limits"), &mut violations);
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid(violations)) }
}

fn done<T: Clone>(thing: T, id: &str, object: Object, changes: Vec<String>) -> Done<T> {
    Done { result: thing, objects: vec![object], subject: id.to_owned(), changes, posting: None }
}

/// The same with budgets that are made along with it.
fn with_budgets<T>(mut done: Done<T>, budgets: Vec<Budget>) -> Done<T> {
    if !budgets.is_empty() {
        let limits: Vec<_> = budgets.iter().map(|budget| budget.limit_nano_usd).collect();
        done.changes.push(format!("budgets, limit_nano_usd: {limits:?}"));
        done.objects.extend(budgets.into_iter().map(Object::from));
    }
    done
}

impl Control {
    /// The budgets that are made along with something new: what could not be made by itself is not made beside it either.
    fn budgets_beside<A>(
        &self,
        authorized: &Authorized<A>,
        on: &BudgetScope,
        asked: Vec<Budget>,
    ) -> Result<Vec<Budget>, Error> {
        if asked.is_empty() {
            return Ok(asked);
        }
        if asked.len() > MAX_BUDGETS {
            return Err(Error::invalid_field("budgets", format!("must be at most {MAX_BUDGETS}")));
        }
        if !is_allowed(&authorized.actor(), Action::CreateBudget, authorized.resource()) {
            let message = "the key's role does not make such budgets; leave them out, or use the key of an admin above";
            return Err(Error::new(ErrorReason::RoleNotAllowed, message)
                .with("action", Action::CreateBudget.name())
                .with("role", authorized.actor().role.as_str_name()));
        }
        let mut budgets = Vec::new();
        for budget in asked {
            let budget = placed(budget, on);
            check_budget(&budget)?;
            budgets.push(new_budget(Budget { increase: None, ..budget }, new_id("bud_"), self.now_us()));
        }
        Ok(budgets)
    }

    // --- organizations --------------------------------------------------------------------------------------------------------

    /// Makes an organization.
    pub async fn create_organization(
        &self,
        principal: &Principal,
        request: CreateOrganizationRequest,
    ) -> Result<Organization, Error> {
        let CreateOrganizationRequest { organization, request_id, budgets } = request;
        let asked = organization.unwrap_or_default();
        self.act::<act::CreateOrganization, _>(
            principal,
            |_| Ok(Resource::default()),
            |authorized| {
                check("organization", &asked.display_name, &asked.metadata, asked.limits.as_ref(), &request_id)?;
                let made_by = owned(authorized, &request_id);
                if let Some(made) =
                    self.made::<Organization>("organization", &made_by, |id| self.directory().organization(id))
                {
                    return Ok(Done {
                        subject: made.id.clone(),
                        result: (*made).clone(),
                        objects: vec![],
                        changes: vec!["repeated".into()],
                        posting: None,
                    });
                }
                let now = Some(timestamp(self.now_us()));
                let made =
                    Organization { id: new_id("org_"), create_time: now, update_time: now, etag: new_id(""), ..asked };
                let object = Object::new(Thing::Organization(made.clone())).made_by(made_by);
                let on =
                    BudgetScope { kind: ScopeKind::Organization as i32, id: made.id.clone(), ..BudgetScope::default() };
                let budgets = self.budgets_beside(authorized, &on, budgets)?;
                let changes = vec![format!("display_name: {:?}", made.display_name)];
                Ok(with_budgets(done(made.clone(), &made.id, object, changes), budgets))
            },
        )
        .await
    }

    /// One organization; with an empty id that of the acting key.
    pub async fn get_organization(&self, principal: &Principal, id: &str) -> Result<Organization, Error> {
        let authorized = self.allowed::<act::ReadOrganization>(principal, |caller| Ok(organization_of(caller, id)))?;
        self.organization(&authorized.resource().organization_id).map(|o| (*o).clone())
    }

    /// A page of organizations that the actor may see.
    pub async fn list_organizations(
        &self,
        principal: &Principal,
        asked: &ListOrganizationsRequest,
    ) -> Result<(Vec<Organization>, String), Error> {
        let actor = self.lister::<act::ReadOrganization>(principal)?;
        let visible = self.directory().organizations().into_iter();
        let visible = visible.filter(|o| is_allowed(&actor, Action::ReadOrganization, &Resource::organization(&o.id)));
        page::of(visible.map(|o| (*o).clone()), |o| &o.id, "organizations", asked.page_size, &asked.page_token)
    }

    /// Changes the fields of the mask.
    pub async fn update_organization(
        &self,
        principal: &Principal,
        request: UpdateOrganizationRequest,
    ) -> Result<Organization, Error> {
        let asked = request.organization.unwrap_or_default();
        let id = asked.id.clone();
        self.act::<act::UpdateOrganization, _>(
            principal,
            |_| Ok(Resource::organization(&id)),
            |_| {
                let mut it = (*self.organization(&asked.id)?).clone();
                stale(&asked.etag, &it.etag)?;
                check("organization", &asked.display_name, &asked.metadata, asked.limits.as_ref(), "")?;
                let set = [
                    ("display_name", !asked.display_name.is_empty()),
                    ("models", !asked.models.is_empty()),
                    ("limits", asked.limits.is_some()),
                    ("metadata", !asked.metadata.is_empty()),
                ];
                let mut changes = Vec::new();
                for path in mask(request.update_mask, &set) {
                    let change = match path.as_str() {
                        "display_name" => swap(&mut it.display_name, asked.display_name.clone()),
                        "models" => swap(&mut it.models, asked.models.clone()),
                        "limits" => swap(&mut it.limits, asked.limits),
                        "metadata" => swap(&mut it.metadata, asked.metadata.clone()),
                        other => return Err(unknown_path(other, "display_name, models, limits and metadata")),
                    };
                    changes.push(format!("{path}: {change}"));
                }
                (it.update_time, it.etag) = (Some(timestamp(self.now_us())), new_id(""));
                let object = Object::new(Thing::Organization(it.clone()));
                Ok(done(it.clone(), &it.id, object, changes))
            },
        )
        .await
    }

    /// Takes an organization away that has nothing left.
    pub async fn delete_organization(&self, principal: &Principal, id: &str) -> Result<(), Error> {
        self.act::<act::DeleteOrganization, _>(
            principal,
            |_| Ok(Resource::organization(id)),
            |_| {
                let it = self.organization(id)?;
                let teams = self.directory().teams().iter().any(|t| t.organization_id == id);
                if teams || self.directory().users().iter().any(|u| u.organization_id == id) {
                    return Err(in_use("organization", id, "teams or users"));
                }
                self.no_keys("organization", id, |key| key.organization_id == id)?;
                let object = Object::new(Thing::Organization((*it).clone())).deleted();
                Ok(Done {
                    result: (),
                    objects: vec![object],
                    subject: id.to_owned(),
                    changes: Vec::new(),
                    posting: None,
                })
            },
        )
        .await
    }

    // --- teams ----------------------------------------------------------------------------------------------------------------

    /// Makes a team.
    pub async fn create_team(&self, principal: &Principal, request: CreateTeamRequest) -> Result<Team, Error> {
        let CreateTeamRequest { team, request_id, budgets } = request;
        let asked = team.unwrap_or_default();
        let organization_id = asked.organization_id.clone();
        self.act::<act::CreateTeam, _>(
            principal,
            |caller| Ok(Resource { team_id: "new".into(), ..organization_of(caller, &organization_id) }),
            |authorized| {
                check("team", &asked.display_name, &asked.metadata, asked.limits.as_ref(), &request_id)?;
                check_bodies(&asked)?;
                let organization_id = self.existing_organization(authorized, "team.organization_id")?;
                let made_by = owned(authorized, &request_id);
                if let Some(made) = self.made::<Team>("team", &made_by, |id| self.directory().team(id)) {
                    return Ok(Done {
                        subject: made.id.clone(),
                        result: (*made).clone(),
                        objects: vec![],
                        changes: vec!["repeated".into()],
                        posting: None,
                    });
                }
                self.within_organization(authorized, &organization_id, &asked)?;
                let now = Some(timestamp(self.now_us()));
                let made = Team {
                    id: new_id("team_"),
                    organization_id,
                    member_ids: Vec::new(),
                    create_time: now,
                    update_time: now,
                    etag: new_id(""),
                    ..asked
                };
                let object = Object::new(Thing::Team(made.clone())).made_by(made_by);
                let on = BudgetScope { kind: ScopeKind::Team as i32, id: made.id.clone(), ..BudgetScope::default() };
                let budgets = self.budgets_beside(authorized, &on, budgets)?;
                let changes =
                    vec![format!("display_name: {:?}", made.display_name), format!("models: {:?}", made.models)];
                Ok(with_budgets(done(made.clone(), &made.id, object, changes), budgets))
            },
        )
        .await
    }

    /// One team; with an empty id that of the acting key.
    pub async fn get_team(&self, principal: &Principal, id: &str) -> Result<Team, Error> {
        let authorized = self.allowed::<act::ReadTeam>(principal, |caller| Ok(self.place_of_team(caller, id)))?;
        self.team(&authorized.resource().team_id).map(|t| (*t).clone())
    }

    /// A page of teams that the actor may see.
    pub async fn list_teams(
        &self,
        principal: &Principal,
        asked: &ListTeamsRequest,
    ) -> Result<(Vec<Team>, String), Error> {
        let actor = self.lister::<act::ReadTeam>(principal)?;
        let visible = self.directory().teams().into_iter().filter(|t| {
            (asked.organization_id.is_empty() || asked.organization_id == t.organization_id)
                && is_allowed(&actor, Action::ReadTeam, &Resource::team(&t.organization_id, &t.id))
        });
        let query = format!("teams {}", asked.organization_id);
        page::of(visible.map(|t| (*t).clone()), |t| &t.id, &query, asked.page_size, &asked.page_token)
    }

    /// Changes the fields of the mask.
    pub async fn update_team(&self, principal: &Principal, request: UpdateTeamRequest) -> Result<Team, Error> {
        let asked = request.team.unwrap_or_default();
        let id = asked.id.clone();
        self.act::<act::UpdateTeam, _>(
            principal,
            |caller| Ok(self.place_of_team(caller, &id)),
            |authorized| {
                let mut it = (*self.team(&asked.id)?).clone();
                stale(&asked.etag, &it.etag)?;
                check("team", &asked.display_name, &asked.metadata, asked.limits.as_ref(), "")?;
                check_bodies(&asked)?;
                let set = [
                    ("display_name", !asked.display_name.is_empty()),
                    ("models", !asked.models.is_empty()),
                    ("limits", asked.limits.is_some()),
                    ("priority", asked.priority != 0),
                    ("metadata", !asked.metadata.is_empty()),
                    ("audit_bodies", asked.audit_bodies != 0),
                ];
                let mut changes = Vec::new();
                for path in mask(request.update_mask, &set) {
                    let change = match path.as_str() {
                        "display_name" => swap(&mut it.display_name, asked.display_name.clone()),
                        "models" => swap(&mut it.models, asked.models.clone()),
                        "limits" => swap(&mut it.limits, asked.limits),
                        "priority" => swap(&mut it.priority, asked.priority),
                        "metadata" => swap(&mut it.metadata, asked.metadata.clone()),
                        "audit_bodies" => {
                            let before = it.audit_bodies();
                            it.audit_bodies = asked.audit_bodies;
                            format!("{} -> {}", before.as_str_name(), it.audit_bodies().as_str_name())
                        }
                        other => {
                            let known = "display_name, models, limits, priority, metadata and audit_bodies";
                            return Err(unknown_path(other, known));
                        }
                    };
                    changes.push(format!("{path}: {change}"));
                }
                self.within_organization(authorized, &it.organization_id.clone(), &it)?;
                Ok(self.changed_team(it, changes))
            },
        )
        .await
    }

    /// Takes a team away that has no working keys.
    pub async fn delete_team(&self, principal: &Principal, id: &str) -> Result<(), Error> {
        self.act::<act::DeleteTeam, _>(
            principal,
            |caller| Ok(self.place_of_team(caller, id)),
            |_| {
                let it = self.team(id)?;
                self.no_keys("team", id, |key| key.team_id == id)?;
                let object = Object::new(Thing::Team((*it).clone())).deleted();
                Ok(Done {
                    result: (),
                    objects: vec![object],
                    subject: id.to_owned(),
                    changes: Vec::new(),
                    posting: None,
                })
            },
        )
        .await
    }

    /// Makes a user a member of a team.
    pub async fn add_team_member(&self, principal: &Principal, team_id: &str, user_id: &str) -> Result<Team, Error> {
        self.act::<act::AddTeamMember, _>(
            principal,
            |caller| Ok(self.place_of_team(caller, team_id)),
            |_| {
                let mut it = (*self.team(team_id)?).clone();
                let user = self.user(user_id)?;
                if user.organization_id != it.organization_id {
                    return Err(Error::invalid_field(
                        "user_id",
                        "the user belongs to another organization than the team",
                    ));
                }
                if !it.member_ids.contains(&user.id) {
                    it.member_ids.push(user.id.clone());
                }
                Ok(self.changed_team(it, vec![format!("member added: {user_id}")]))
            },
        )
        .await
    }

    /// Takes a member out of a team.
    pub async fn remove_team_member(&self, principal: &Principal, team_id: &str, user_id: &str) -> Result<Team, Error> {
        self.act::<act::RemoveTeamMember, _>(
            principal,
            |caller| Ok(self.place_of_team(caller, team_id)),
            |_| {
                let mut it = (*self.team(team_id)?).clone();
                if !it.member_ids.iter().any(|id| id == user_id) {
                    return Err(Error::not_found("team member", user_id));
                }
                it.member_ids.retain(|id| id != user_id);
                Ok(self.changed_team(it, vec![format!("member removed: {user_id}")]))
            },
        )
        .await
    }

    // --- users ----------------------------------------------------------------------------------------------------------------

    /// Makes a user.
    pub async fn create_user(&self, principal: &Principal, request: CreateUserRequest) -> Result<User, Error> {
        let CreateUserRequest { user, request_id, budgets } = request;
        let asked = user.unwrap_or_default();
        let organization_id = asked.organization_id.clone();
        self.act::<act::CreateUser, _>(
            principal,
            |caller| Ok(organization_of(caller, &organization_id)),
            |authorized| {
                check_user(&asked, &request_id)?;
                let organization_id = self.existing_organization(authorized, "user.organization_id")?;
                let made_by = owned(authorized, &request_id);
                if let Some(made) = self.made::<User>("user", &made_by, |id| self.directory().user(id)) {
                    return Ok(Done {
                        subject: made.id.clone(),
                        result: (*made).clone(),
                        objects: vec![],
                        changes: vec!["repeated".into()],
                        posting: None,
                    });
                }
                let now = Some(timestamp(self.now_us()));
                let made = User {
                    id: new_id("user_"),
                    organization_id,
                    create_time: now,
                    update_time: now,
                    etag: new_id(""),
                    ..asked
                };
                let object = Object::new(Thing::User(made.clone())).made_by(made_by);
                let on = BudgetScope { kind: ScopeKind::User as i32, id: made.id.clone(), ..BudgetScope::default() };
                let budgets = self.budgets_beside(authorized, &on, budgets)?;
                let changes = vec![format!("display_name: {:?}", made.display_name)];
                Ok(with_budgets(done(made.clone(), &made.id, object, changes), budgets))
            },
        )
        .await
    }

    /// One user; with an empty id that of the acting key.
    pub async fn get_user(&self, principal: &Principal, id: &str) -> Result<User, Error> {
        let authorized = self.allowed::<act::ReadUser>(principal, |caller| Ok(self.place_of_user(caller, id)))?;
        self.user(&authorized.resource().user_id).map(|u| (*u).clone())
    }

    /// A page of users that the actor may see.
    pub async fn list_users(
        &self,
        principal: &Principal,
        asked: &ListUsersRequest,
    ) -> Result<(Vec<User>, String), Error> {
        let actor = self.lister::<act::ReadUser>(principal)?;
        let visible = self.directory().users().into_iter().filter(|u| {
            (asked.organization_id.is_empty() || asked.organization_id == u.organization_id)
                && is_allowed(&actor, Action::ReadUser, &Resource::user(&u.organization_id, &u.id))
        });
        let query = format!("users {}", asked.organization_id);
        page::of(visible.map(|u| (*u).clone()), |u| &u.id, &query, asked.page_size, &asked.page_token)
    }

    /// Changes the fields of the mask.
    pub async fn update_user(&self, principal: &Principal, request: UpdateUserRequest) -> Result<User, Error> {
        let asked = request.user.unwrap_or_default();
        let id = asked.id.clone();
        self.act::<act::UpdateUser, _>(
            principal,
            |caller| Ok(self.place_of_user(caller, &id)),
            |_| {
                let mut it = (*self.user(&asked.id)?).clone();
                stale(&asked.etag, &it.etag)?;
                check_user(&asked, "")?;
                let set = [
                    ("display_name", !asked.display_name.is_empty()),
                    ("email", !asked.email.is_empty()),
                    ("limits", asked.limits.is_some()),
                    ("metadata", !asked.metadata.is_empty()),
                ];
                let mut changes = Vec::new();
                for path in mask(request.update_mask, &set) {
                    let change = match path.as_str() {
                        "display_name" => swap(&mut it.display_name, asked.display_name.clone()),
                        "email" => swap(&mut it.email, asked.email.clone()),
                        "limits" => swap(&mut it.limits, asked.limits),
                        "metadata" => swap(&mut it.metadata, asked.metadata.clone()),
                        other => return Err(unknown_path(other, "display_name, email, limits and metadata")),
                    };
                    changes.push(format!("{path}: {change}"));
                }
                (it.update_time, it.etag) = (Some(timestamp(self.now_us())), new_id(""));
                let object = Object::new(Thing::User(it.clone()));
                Ok(done(it.clone(), &it.id, object, changes))
            },
        )
        .await
    }

    /// Takes a user away that has no working keys; memberships go with it.
    pub async fn delete_user(&self, principal: &Principal, id: &str) -> Result<(), Error> {
        self.act::<act::DeleteUser, _>(
            principal,
            |caller| Ok(self.place_of_user(caller, id)),
            |_| {
                let it = self.user(id)?;
                self.no_keys("user", id, |key| key.user_id == id)?;
                let mut objects = vec![Object::new(Thing::User((*it).clone())).deleted()];
                for team in self.directory().teams().iter().filter(|t| t.member_ids.iter().any(|m| m == id)) {
                    let mut team = (**team).clone();
                    team.member_ids.retain(|m| m != id);
                    objects.push(Object::new(Thing::Team(team)));
                }
                Ok(Done { result: (), objects, subject: id.to_owned(), changes: Vec::new(), posting: None })
            },
        )
        .await
    }

    // --- what they share ------------------------------------------------------------------------------------------------------

    fn organization(&self, id: &str) -> Result<Arc<Organization>, Error> {
        self.directory().organization(id).ok_or_else(|| Error::not_found("organization", id))
    }

    fn team(&self, id: &str) -> Result<Arc<Team>, Error> {
        self.directory().team(id).ok_or_else(|| Error::not_found("team", id))
    }

    fn user(&self, id: &str) -> Result<Arc<User>, Error> {
        self.directory().user(id).ok_or_else(|| Error::not_found("user", id))
    }

    /// Where a team lies; with an empty id that of the acting key.
    pub(crate) fn place_of_team(&self, caller: &Caller, id: &str) -> Resource {
        let id = if id.is_empty() { &caller.key().team_id } else { id };
        let organization_id = self.directory().team(id).map(|t| t.organization_id.clone()).unwrap_or_default();
        Resource::team(&organization_id, id)
    }

    /// Where a user lies; with an empty id that of the acting key.
    pub(crate) fn place_of_user(&self, caller: &Caller, id: &str) -> Resource {
        let id = if id.is_empty() { &caller.key().user_id } else { id };
        let organization_id = self.directory().user(id).map(|u| u.organization_id.clone()).unwrap_or_default();
        Resource::user(&organization_id, id)
    }

    fn existing_organization<A>(&self, authorized: &Authorized<A>, field: &str) -> Result<String, Error> {
        let id = &authorized.resource().organization_id;
        if !id.is_empty() && self.directory().organization(id).is_none() {
            return Err(Error::invalid_field(field, "there is no such organization"));
        }
        Ok(id.clone())
    }

    /// A team's rights lie within those of its organization, unless the platform gives them.
    fn within_organization<A>(&self, authorized: &Authorized<A>, id: &str, team: &Team) -> Result<(), Error> {
        let as_key = tollgate_proto::v1::Key {
            organization_id: id.to_owned(),
            models: team.models.clone(),
            limits: team.limits,
            ..Default::default()
        };
        rights::check_key(&authorized.actor(), authorized.caller().key(), &as_key, self.directory())
    }

    fn no_keys(
        &self,
        resource: &'static str,
        id: &str,
        of_it: impl Fn(&tollgate_proto::v1::Key) -> bool,
    ) -> Result<(), Error> {
        let now_us = self.now_us();
        let works = |state| matches!(state, KeyState::Active | KeyState::Blocked);
        let any = self.pipeline.keyring().all().iter().map(|e| e.key_at(now_us)).any(|k| of_it(&k) && works(k.state()));
        if any { Err(in_use(resource, id, "keys that work")) } else { Ok(()) }
    }

    fn changed_team(&self, mut it: Team, changes: Vec<String>) -> Done<Team> {
        (it.update_time, it.etag) = (Some(timestamp(self.now_us())), new_id(""));
        let object = Object::new(Thing::Team(it.clone()));
        done(it.clone(), &it.id, object, changes)
    }

    /// What an earlier call with the same request id made.
    pub(crate) fn made<T>(
        &self,
        kind: &'static str,
        made_by: &str,
        get: impl FnOnce(&str) -> Option<Arc<T>>,
    ) -> Option<Arc<T>> {
        if made_by.is_empty() {
            return None;
        }
        get(&self.directory().made_by(kind, made_by)?)
    }
}

fn organization_of(caller: &Caller, id: &str) -> Resource {
    Resource::organization(if id.is_empty() { &caller.key().organization_id } else { id })
}

fn check_bodies(team: &Team) -> Result<(), Error> {
    match BodyPolicy::try_from(team.audit_bodies) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::invalid_field("team.audit_bodies", "must be NONE, REDACTED, FULL or UNSPECIFIED")),
    }
}

fn check_user(user: &User, request_id: &str) -> Result<(), Error> {
    check("user", &user.display_name, &user.metadata, user.limits.as_ref(), request_id)?;
    if user.email.len() > 256 {
        return Err(Error::invalid_field("user.email", "must be at most 256 bytes"));
    }
    Ok(())
}
