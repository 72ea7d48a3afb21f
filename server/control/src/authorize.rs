//! Who may do what: one pure function over one table, from which `docs/authorization.md` is generated.

use std::marker::PhantomData;

use tollgate_domain::Error;
use tollgate_pipeline::Caller;
use tollgate_proto::v1::{ErrorReason, Key, KeyRole};

/// How far a role reaches with an action. Denied unless the table says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nowhere.
    No,
    /// The acting key itself.
    Key,
    /// What belongs to the acting key's user.
    User,
    /// What belongs to its team.
    Team,
    /// What belongs to keys and users of its team, not to the team itself.
    BelowTeam,
    /// What belongs to its organization.
    Org,
    /// What lies below its organization, not the organization itself.
    BelowOrg,
    /// Everything; of a key that belongs to an organization, everything there.
    All,
}

/// Where a thing lies: which organization, team, user and key it belongs to, each empty where it belongs to none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// Organization.
    pub organization_id: String,
    /// Team.
    pub team_id: String,
    /// User.
    pub user_id: String,
    /// Key.
    pub key_id: String,
}

impl Resource {
    /// Where a key lies.
    pub fn of_key(key: &Key) -> Self {
        Self {
            organization_id: key.organization_id.clone(),
            team_id: key.team_id.clone(),
            user_id: key.user_id.clone(),
            key_id: key.id.clone(),
        }
    }

    /// An organization.
    pub fn organization(id: &str) -> Self {
        Self { organization_id: id.to_owned(), ..Self::default() }
    }

    /// A team of an organization.
    pub fn team(organization_id: &str, id: &str) -> Self {
        Self { team_id: id.to_owned(), ..Self::organization(organization_id) }
    }

    /// A user of an organization.
    pub fn user(organization_id: &str, id: &str) -> Self {
        Self { user_id: id.to_owned(), ..Self::organization(organization_id) }
    }
}

/// Who acts: the role and the place of the acting key.
#[derive(Clone, Debug)]
pub struct Actor {
    /// What its key may do.
    pub role: KeyRole,
    /// Where its key lies.
    pub place: Resource,
}

impl Actor {
    /// The holder of a key.
    pub fn of(caller: &Caller) -> Self {
        Self { role: caller.role(), place: Resource::of_key(caller.key()) }
    }
}

fn same(mine: &str, its: &str) -> bool {
    !mine.is_empty() && mine == its
}

impl Reach {
    /// Whether an actor at `place` reaches `resource`.
    pub fn covers(self, place: &Resource, resource: &Resource) -> bool {
        let below_team = !resource.user_id.is_empty() || !resource.key_id.is_empty();
        match self {
            Self::No => false,
            Self::Key => same(&place.key_id, &resource.key_id),
            Self::User => same(&place.user_id, &resource.user_id),
            Self::Team => same(&place.team_id, &resource.team_id),
            Self::BelowTeam => same(&place.team_id, &resource.team_id) && below_team,
            Self::Org => {
                same(&place.organization_id, &resource.organization_id) || tollgate_planted::bug("matrix_hole")
            }
            Self::BelowOrg => {
                same(&place.organization_id, &resource.organization_id) && (below_team || !resource.team_id.is_empty())
            }
            Self::All => place.organization_id.is_empty() || place.organization_id == resource.organization_id,
        }
    }
}

/// An action as a type: what [`Authorized`] proves.
pub trait Act {
    /// The action.
    const ACTION: Action;
}

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $name:ident $text:literal
       $platform:ident $org:ident $team:ident $member:ident $finance:ident $auditor:ident $caller:ident;)+) => {
        /// What somebody wants to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Action {
            /// Every action, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name in audit records.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// What it is, for the generated table.
            pub fn description(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+)),+ }
            }

            /// The matrix: how far a role reaches with it.
            pub fn reach(self, role: KeyRole) -> Reach {
                let row = match self {
                    $(Self::$name => [Reach::$platform, Reach::$org, Reach::$team, Reach::$member, Reach::$finance,
                                      Reach::$auditor, Reach::$caller]),+
                };
                match role {
                    KeyRole::PlatformAdmin => row[0],
                    KeyRole::OrganizationAdmin => row[1],
                    KeyRole::TeamAdmin => row[2],
                    KeyRole::Member => row[3],
                    KeyRole::Finance => row[4],
                    KeyRole::Auditor => row[5],
                    KeyRole::Caller => row[6],
                    KeyRole::Unspecified => Reach::No,
                }
            }
        }

        /// Actions as types.
        pub mod act {
            $($(#[doc = $doc])+ #[derive(Clone, Copy, Debug)] pub struct $name;
              impl super::Act for $name { const ACTION: super::Action = super::Action::$name; })+
        }
    };
}

actions! {
    // action                                        platform org      team      member finance auditor caller
    /// See which models one may use.
    ReadModels "model.read"                          All      Org      Team      User   All     All     Key;
    /// See the deployments that live in the store.
    ReadRuntimeModel "model.read_runtime"            All      No       No        No     No      No      No;
    /// Make a deployment that lives in the store.
    CreateModel "model.create"                       All      No       No        No     No      No      No;
    /// Take such a deployment away.
    DeleteModel "model.delete"                       All      No       No        No     No      No      No;
    /// Ask providers whether they answer.
    CheckHealth "model.check"                        All      No       No        No     No      No      No;
    /// Keep a response, to go on from it.
    KeepResponse "response.keep"                     Key      Key      Key       Key    Key     Key     Key;
    /// See what one has kept.
    ReadResponse "response.read"                     Key      Key      Key       Key    Key     Key     Key;
    /// Forget what one has kept.
    DeleteResponse "response.delete"                 Key      Key      Key       Key    Key     Key     Key;
    /// Have a response end that is being made.
    CancelResponse "response.cancel"                 Key      Key      Key       Key    Key     Key     Key;
    /// See a key.
    ReadKey "key.read"                               All      Org      Team      User   No      All     Key;
    /// Make a key.
    CreateKey "key.create"                           All      Org      Team      User   No      No      No;
    /// Change a key.
    UpdateKey "key.update"                           All      Org      Team      User   No      No      No;
    /// Give a key a new secret.
    RotateKey "key.rotate"                           All      Org      Team      User   No      No      No;
    /// Choose the secret of a key that one makes or rotates.
    ChooseSecret "key.choose_secret"                 All      Org      No        No     No      No      No;
    /// Block a key.
    BlockKey "key.block"                             All      Org      Team      User   No      No      No;
    /// Unblock a key.
    UnblockKey "key.unblock"                         All      Org      Team      User   No      No      No;
    /// Revoke a key.
    RevokeKey "key.revoke"                           All      Org      Team      User   No      No      No;
    /// Take a key over that another gateway issued.
    ImportKey "key.import"                           All      No       No        No     No      No      No;
    /// Move a key to another team or user.
    MoveKey "key.move"                               All      Org      No        No     No      No      No;
    /// See an organization.
    ReadOrganization "organization.read"             All      Org      Org       Org    All     All     No;
    /// Make an organization.
    CreateOrganization "organization.create"         All      No       No        No     No      No      No;
    /// Change an organization.
    UpdateOrganization "organization.update"         All      No       No        No     No      No      No;
    /// Take an organization away.
    DeleteOrganization "organization.delete"         All      No       No        No     No      No      No;
    /// See a team.
    ReadTeam "team.read"                             All      Org      Team      Team   All     All     No;
    /// Make a team.
    CreateTeam "team.create"                         All      Org      No        No     No      No      No;
    /// Change a team.
    UpdateTeam "team.update"                         All      Org      No        No     No      No      No;
    /// Take a team away.
    DeleteTeam "team.delete"                         All      Org      No        No     No      No      No;
    /// Make a user a member of a team.
    AddTeamMember "team.add_member"                  All      Org      Team      No     No      No      No;
    /// Take a member out of a team.
    RemoveTeamMember "team.remove_member"            All      Org      Team      No     No      No      No;
    /// See a user.
    ReadUser "user.read"                             All      Org      Org       User   All     All     No;
    /// Make a user.
    CreateUser "user.create"                         All      Org      No        No     No      No      No;
    /// Change a user.
    UpdateUser "user.update"                         All      Org      No        No     No      No      No;
    /// Take a user away.
    DeleteUser "user.delete"                         All      Org      No        No     No      No      No;
    /// See a budget.
    ReadBudget "budget.read"                         All      Org      Team      User   All     All     Key;
    /// Make a budget.
    CreateBudget "budget.create"                     All      BelowOrg BelowTeam No     No      No      No;
    /// Change a budget; a member may only lower its limit.
    UpdateBudget "budget.update"                     All      BelowOrg BelowTeam User   No      No      No;
    /// Raise a budget for a time.
    IncreaseBudget "budget.increase"                 All      BelowOrg BelowTeam No     No      No      No;
    /// Take a budget away.
    DeleteBudget "budget.delete"                     All      BelowOrg BelowTeam No     No      No      No;
    /// See spend, ledger entries, holds and alerts.
    ReadSpend "spend.read"                           All      Org      Team      User   All     All     Key;
    /// Check the ledger's invariants.
    CheckLedger "ledger.check"                       All      No       No        No     All     All     No;
    /// Compare a provider's invoice with the ledger.
    ReconcileInvoice "invoice.reconcile"             All      No       No        No     All     All     No;
    /// See corrections of the ledger.
    ReadAdjustment "adjustment.read"                 All      No       No        No     All     All     No;
    /// Propose a correction of the ledger, posted at once where it is small.
    CreateAdjustment "adjustment.create"             No       No       No        No     All     No      No;
    /// Post a correction that somebody else proposed.
    ApproveAdjustment "adjustment.approve"           All      No       No        No     No      No      No;
    /// Give up a replica whose disk is lost.
    CloseReplica "replica.close"                     All      No       No        No     No      No      No;
    /// Read the audit log.
    ReadAudit "audit.read"                           All      Org      No        User   No      All     No;
    /// See what is signed of the audit log, with proofs.
    ReadLog "audit.read_log"                         All      No       No        No     No      No      No;
    /// Take the whole audit log along as files.
    ExportLog "audit.export"                         All      No       No        No     No      No      No;
    /// Read metrics, where they ask for a key (`metrics.require_key`).
    ReadMetrics "metrics.read"                       All      No       No        No     No      All     No;
    /// Read the prompt and the answer of a call.
    ReadBody "body.read"                             All      No       No        No     No      No      No;
    /// Make prompts and answers unreadable for good.
    EraseBodies "body.erase"                         All      No       No        No     No      No      No;
    /// See legal holds.
    ReadHolds "hold.read"                            All      No       No        No     No      No      No;
    /// Keep prompts and answers from being erased.
    CreateHold "hold.create"                         All      No       No        No     No      No      No;
    /// End a legal hold.
    ReleaseHold "hold.release"                       All      No       No        No     No      No      No;
}

/// The matrix as a page of the documentation.
pub fn authorization_page() -> String {
    const ROLES: [KeyRole; 7] = [
        KeyRole::PlatformAdmin,
        KeyRole::OrganizationAdmin,
        KeyRole::TeamAdmin,
        KeyRole::Member,
        KeyRole::Finance,
        KeyRole::Auditor,
        KeyRole::Caller,
    ];
    let mut page = String::from(PAGE_HEAD);
    for &action in Action::ALL {
        let cells: Vec<_> = ROLES.iter().map(|&role| action.reach(role).describe()).collect();
        page += &format!("| `{}` | {} | {} |\n", action.name(), action.description().trim(), cells.join(" | "));
    }
    page += "\n## What each RPC asks for\n\n`key.choose_secret` only where the call brings a secret.\n\n| RPC | action |\n|---|---|\n";
    for (rpc, actions) in RPCS {
        let names: Vec<_> = actions.iter().map(|a| format!("`{}`", a.name())).collect();
        let names = if names.is_empty() { "a key that may call models".to_owned() } else { names.join(", ") };
        page += &format!("| {rpc} | {names} |\n");
    }
    page
}

const PAGE_HEAD: &str = "\
# Who may do what

Generated from the table in `server/control/src/authorize.rs` that decides it; a test keeps the two the same.

A key has one role and lies at one place: an organization, a team of it, a user of it, or nowhere. How far a role reaches with an action:
**all** is everything (of a key that lies in an organization: everything there), **organization** what lies in the key's, **below its
organization** the same without the organization itself, **team** and **below its team** alike, **user** what belongs to the key's user,
**itself** the key alone. What is not listed is denied, and a denial is on record.

Besides, nobody grants what they do not have: a key that is made, changed, rotated or moved must lie within the rights and limits of its
team and organization, and only platform admins make platform admins. Platform admins make no completions unless `admin_completions` is
set.

| action | | platform admin | organization admin | team admin | member | finance | auditor | caller |
|---|---|---|---|---|---|---|---|---|
";

impl Reach {
    fn describe(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Key => "itself",
            Self::User => "user",
            Self::Team => "team",
            Self::BelowTeam => "below its team",
            Self::Org => "organization",
            Self::BelowOrg => "below its organization",
            Self::All => "all",
        }
    }
}

/// Whether an actor may do something to what lies at a place: pure, and the only place where that is decided.
pub fn is_allowed(actor: &Actor, action: Action, resource: &Resource) -> bool {
    action.reach(actor.role).covers(&actor.place, resource)
}

/// Proof that a caller may do `A` to a resource. Only [`authorize`] makes one.
pub struct Authorized<A> {
    caller: Caller,
    resource: Resource,
    act: PhantomData<A>,
}

impl<A> Authorized<A> {
    /// Who acts.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The role and place of who acts.
    pub fn actor(&self) -> Actor {
        Actor::of(&self.caller)
    }

    /// What it was proved for.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }
}

/// Proves that `caller` may do `A` to `resource`, or says why not.
pub fn authorize<A: Act>(caller: Caller, resource: Resource) -> Result<Authorized<A>, Error> {
    let (actor, action) = (Actor::of(&caller), A::ACTION);
    if is_allowed(&actor, action, &resource) {
        return Ok(Authorized { caller, resource, act: PhantomData });
    }
    let message = match action.reach(actor.role) {
        Reach::No => format!("the key's role does not include {}; use an admin key", action.name()),
        _ => format!(
            "{} reaches only what belongs to the key's own place; use a key of the place that it is about",
            action.name()
        ),
    };
    Err(Error::new(ErrorReason::RoleNotAllowed, message)
        .with("action", action.name())
        .with("role", actor.role.as_str_name()))
}

/// Which actions each RPC asks for: what the generated table and the test of every cell go through.
pub const RPCS: &[(&str, &[Action])] = &[
    ("CompletionService/CreateCompletion", &[]),
    ("CompletionService/StreamCompletion", &[]),
    ("CompletionService/CountTokens", &[Action::ReadModels]),
    ("EmbeddingService/CreateEmbedding", &[]),
    ("RerankService/Rerank", &[]),
    ("ModerationService/CreateModeration", &[]),
    ("ImageService/GenerateImage", &[]),
    ("ImageService/StreamImage", &[]),
    ("ImageService/EditImage", &[]),
    ("AudioService/CreateSpeech", &[]),
    ("AudioService/CreateTranscription", &[]),
    ("FileService/CreateFile", &[]),
    ("FileService/GetFile", &[]),
    ("FileService/ListFiles", &[]),
    ("FileService/DeleteFile", &[]),
    ("FileService/GetFileContent", &[]),
    ("BatchService/CreateBatch", &[]),
    ("BatchService/GetBatch", &[]),
    ("BatchService/ListBatches", &[]),
    ("BatchService/CancelBatch", &[]),
    ("ModelService/ListModels", &[Action::ReadModels]),
    ("ModelService/GetModel", &[Action::ReadModels]),
    ("ModelService/GetRouteState", &[Action::ReadModels]),
    ("ModelService/ExplainRoute", &[Action::ReadModels]),
    ("ModelService/ListCatalogueModels", &[Action::ReadModels]),
    ("ModelService/GetCatalogueModel", &[Action::ReadModels]),
    ("ModelService/CreateModel", &[Action::CreateModel]),
    ("ModelService/ListRuntimeModels", &[Action::ReadRuntimeModel]),
    ("ModelService/DeleteModel", &[Action::DeleteModel]),
    ("ModelService/CheckHealth", &[Action::CheckHealth]),
    ("ResponseService/StoreResponse", &[Action::KeepResponse]),
    ("ResponseService/GetResponse", &[Action::ReadResponse]),
    ("ResponseService/GetConversation", &[Action::ReadResponse]),
    ("ResponseService/DeleteResponse", &[Action::DeleteResponse]),
    ("ResponseService/BeginResponse", &[Action::KeepResponse]),
    ("ResponseService/AdvanceResponse", &[Action::KeepResponse]),
    ("ResponseService/CancelResponse", &[Action::CancelResponse]),
    ("ResponseService/ListResponseEvents", &[Action::ReadResponse]),
    ("KeyAdminService/CreateKey", &[Action::CreateKey, Action::ChooseSecret]),
    ("KeyAdminService/GetKey", &[Action::ReadKey]),
    ("KeyAdminService/ListKeys", &[Action::ReadKey]),
    ("KeyAdminService/UpdateKey", &[Action::UpdateKey]),
    ("KeyAdminService/RotateKey", &[Action::RotateKey, Action::ChooseSecret]),
    ("KeyAdminService/BlockKey", &[Action::BlockKey]),
    ("KeyAdminService/UnblockKey", &[Action::UnblockKey]),
    ("KeyAdminService/RevokeKey", &[Action::RevokeKey]),
    ("KeyAdminService/ImportKey", &[Action::ImportKey]),
    ("TenancyService/MoveKey", &[Action::MoveKey]),
    ("TenancyService/CreateOrganization", &[Action::CreateOrganization]),
    ("TenancyService/GetOrganization", &[Action::ReadOrganization]),
    ("TenancyService/ListOrganizations", &[Action::ReadOrganization]),
    ("TenancyService/UpdateOrganization", &[Action::UpdateOrganization]),
    ("TenancyService/DeleteOrganization", &[Action::DeleteOrganization]),
    ("TenancyService/CreateTeam", &[Action::CreateTeam]),
    ("TenancyService/GetTeam", &[Action::ReadTeam]),
    ("TenancyService/ListTeams", &[Action::ReadTeam]),
    ("TenancyService/UpdateTeam", &[Action::UpdateTeam]),
    ("TenancyService/DeleteTeam", &[Action::DeleteTeam]),
    ("TenancyService/AddTeamMember", &[Action::AddTeamMember]),
    ("TenancyService/RemoveTeamMember", &[Action::RemoveTeamMember]),
    ("TenancyService/CreateUser", &[Action::CreateUser]),
    ("TenancyService/GetUser", &[Action::ReadUser]),
    ("TenancyService/ListUsers", &[Action::ReadUser]),
    ("TenancyService/UpdateUser", &[Action::UpdateUser]),
    ("TenancyService/DeleteUser", &[Action::DeleteUser]),
    ("BudgetService/CreateBudget", &[Action::CreateBudget]),
    ("BudgetService/GetBudget", &[Action::ReadBudget]),
    ("BudgetService/ListBudgets", &[Action::ReadBudget]),
    ("BudgetService/UpdateBudget", &[Action::UpdateBudget]),
    ("BudgetService/IncreaseBudget", &[Action::IncreaseBudget]),
    ("BudgetService/DeleteBudget", &[Action::DeleteBudget]),
    ("BudgetService/GetSpend", &[Action::ReadSpend]),
    ("BudgetService/ListLedgerEntries", &[Action::ReadSpend]),
    ("BudgetService/WatchSpend", &[Action::ReadSpend]),
    ("BudgetService/ListBudgetAlerts", &[Action::ReadSpend]),
    ("BudgetService/ListHolds", &[Action::ReadSpend]),
    ("BudgetService/CheckLedger", &[Action::CheckLedger]),
    ("BudgetService/ReconcileInvoice", &[Action::ReconcileInvoice]),
    ("BudgetService/CreateAdjustment", &[Action::CreateAdjustment]),
    ("BudgetService/ApproveAdjustment", &[Action::ApproveAdjustment]),
    ("BudgetService/ListAdjustments", &[Action::ReadAdjustment]),
    ("BudgetService/CloseReplica", &[Action::CloseReplica]),
    ("AuditService/QueryRecords", &[Action::ReadAudit]),
    ("AuditService/TailRecords", &[Action::ReadAudit]),
    ("AuditService/ListLogs", &[Action::ReadLog]),
    ("AuditService/GetInclusionProof", &[Action::ReadLog]),
    ("AuditService/GetConsistencyProof", &[Action::ReadLog]),
    ("AuditService/ExportLog", &[Action::ExportLog]),
    ("AuditService/GetBody", &[Action::ReadBody]),
    ("AuditService/EraseBodies", &[Action::EraseBodies]),
    ("AuditService/CreateLegalHold", &[Action::CreateHold]),
    ("AuditService/ListLegalHolds", &[Action::ReadHolds]),
    ("AuditService/ReleaseLegalHold", &[Action::ReleaseHold]),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_published_matrix_is_the_one_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/authorization.md");
        if std::env::var_os("TOLLGATE_UPDATE_DOCS").is_some() {
            std::fs::write(path, authorization_page()).unwrap();
        }
        let published = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            published,
            authorization_page(),
            "run the tests with TOLLGATE_UPDATE_DOCS=1 and look at what changes"
        );
    }

    #[test]
    fn nothing_is_reached_from_nowhere() {
        let nowhere = Resource::default();
        for &action in Action::ALL {
            for role in [KeyRole::OrganizationAdmin, KeyRole::TeamAdmin, KeyRole::Member, KeyRole::Caller] {
                let actor = Actor { role, place: nowhere.clone() };
                assert!(!is_allowed(&actor, action, &nowhere), "{role:?} {action:?}");
            }
        }
    }

    #[test]
    fn a_platform_admin_of_an_organization_stays_in_it() {
        let actor = Actor { role: KeyRole::PlatformAdmin, place: Resource::organization("a") };
        assert!(is_allowed(&actor, Action::UpdateKey, &Resource::team("a", "t")));
        assert!(!is_allowed(&actor, Action::UpdateKey, &Resource::team("b", "t")));
        assert!(!is_allowed(&actor, Action::CreateOrganization, &Resource::default()));
    }
}
