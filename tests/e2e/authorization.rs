//! Every RPC, by every role, on what is its own, a sibling's and another organization's: what the gateway lets happen, cell by cell.

use std::collections::BTreeSet;

use prost::Message;
use tollgate_client::{Client, reason, v1};
use tonic::Status;

use crate::support::{World, request};

/// Who: platform admin, organization admin, team admin, member, finance, auditor, caller. What each reaches of a thing of its `o`wn
/// place, of a `s`ibling team in the same organization, of another (`x`); `y` and `-` where an RPC has no target.
const CELLS: &str = "
    CompletionService/CreateCompletion      -    -    -    -    -    -    y
    CompletionService/StreamCompletion      -    -    -    -    -    -    y
    CompletionService/CountTokens           y    y    y    y    y    y    y
    EmbeddingService/CreateEmbedding        -    -    -    -    -    -    y
    RerankService/Rerank                    -    -    -    -    -    -    y
    ModerationService/CreateModeration      -    -    -    -    -    -    y
    ImageService/GenerateImage              -    -    -    -    -    -    y
    ImageService/StreamImage                -    -    -    -    -    -    y
    ImageService/EditImage                  -    -    -    -    -    -    y
    AudioService/CreateSpeech               -    -    -    -    -    -    y
    AudioService/CreateTranscription        -    -    -    -    -    -    y
    FileService/CreateFile                  -    -    -    -    -    -    y
    FileService/GetFile                     -    -    -    -    -    -    y
    FileService/ListFiles                   -    -    -    -    -    -    y
    FileService/DeleteFile                  -    -    -    -    -    -    y
    FileService/GetFileContent              -    -    -    -    -    -    y
    BatchService/CreateBatch                -    -    -    -    -    -    y
    BatchService/GetBatch                   -    -    -    -    -    -    y
    BatchService/ListBatches                -    -    -    -    -    -    y
    BatchService/CancelBatch                -    -    -    -    -    -    y
    ModelService/ListModels                 y    y    y    y    y    y    y
    ModelService/GetModel                   y    y    y    y    y    y    y
    ModelService/GetRouteState              y    y    y    y    y    y    y
    ModelService/ExplainRoute               y    y    y    y    y    y    y
    ModelService/ListCatalogueModels        y    y    y    y    y    y    y
    ModelService/GetCatalogueModel          y    y    y    y    y    y    y
    ModelService/CreateModel                y    -    -    -    -    -    -
    ModelService/ListRuntimeModels          y    -    -    -    -    -    -
    ModelService/DeleteModel                y    -    -    -    -    -    -
    ModelService/CheckHealth                y    -    -    -    -    -    -
    ResponseService/StoreResponse           y    y    y    y    y    y    y
    ResponseService/GetResponse             y    y    y    y    y    y    y
    ResponseService/GetConversation         y    y    y    y    y    y    y
    ResponseService/DeleteResponse          y    y    y    y    y    y    y
    ResponseService/BeginResponse           y    y    y    y    y    y    y
    ResponseService/AdvanceResponse         y    y    y    y    y    y    y
    ResponseService/CancelResponse          y    y    y    y    y    y    y
    ResponseService/ListResponseEvents      y    y    y    y    y    y    y
    KeyAdminService/CreateKey               osx  os-  o--  o--  ---  ---  ---
    KeyAdminService/GetKey                  osx  os-  o--  o--  ---  osx  o--
    KeyAdminService/ListKeys                osx  os-  o--  o--  ---  osx  o--
    KeyAdminService/UpdateKey               osx  os-  o--  o--  ---  ---  ---
    KeyAdminService/RotateKey               osx  os-  o--  o--  ---  ---  ---
    KeyAdminService/BlockKey                osx  os-  o--  o--  ---  ---  ---
    KeyAdminService/UnblockKey              osx  os-  o--  o--  ---  ---  ---
    KeyAdminService/RevokeKey               osx  os-  o--  o--  ---  ---  ---
    KeyAdminService/ImportKey               osx  ---  ---  ---  ---  ---  ---
    TenancyService/MoveKey                  osx  os-  ---  ---  ---  ---  ---
    TenancyService/CreateOrganization       y    -    -    -    -    -    -
    TenancyService/GetOrganization          osx  os-  os-  os-  osx  osx  ---
    TenancyService/ListOrganizations        osx  os-  os-  os-  osx  osx  ---
    TenancyService/UpdateOrganization       osx  ---  ---  ---  ---  ---  ---
    TenancyService/DeleteOrganization       osx  ---  ---  ---  ---  ---  ---
    TenancyService/CreateTeam               osx  os-  ---  ---  ---  ---  ---
    TenancyService/GetTeam                  osx  os-  o--  o--  osx  osx  ---
    TenancyService/ListTeams                osx  os-  o--  o--  osx  osx  ---
    TenancyService/UpdateTeam               osx  os-  ---  ---  ---  ---  ---
    TenancyService/DeleteTeam               osx  os-  ---  ---  ---  ---  ---
    TenancyService/AddTeamMember            osx  os-  o--  ---  ---  ---  ---
    TenancyService/RemoveTeamMember         osx  os-  o--  ---  ---  ---  ---
    TenancyService/CreateUser               osx  os-  ---  ---  ---  ---  ---
    TenancyService/GetUser                  osx  os-  os-  o--  osx  osx  ---
    TenancyService/ListUsers                osx  os-  os-  o--  osx  osx  ---
    TenancyService/UpdateUser               osx  os-  ---  ---  ---  ---  ---
    TenancyService/DeleteUser               osx  os-  ---  ---  ---  ---  ---
    BudgetService/CreateBudget              osx  os-  o--  ---  ---  ---  ---
    BudgetService/GetBudget                 osx  os-  o--  o--  osx  osx  o--
    BudgetService/ListBudgets               osx  os-  o--  o--  osx  osx  o--
    BudgetService/UpdateBudget              osx  os-  o--  o--  ---  ---  ---
    BudgetService/IncreaseBudget            osx  os-  o--  ---  ---  ---  ---
    BudgetService/DeleteBudget              osx  os-  o--  ---  ---  ---  ---
    BudgetService/GetSpend                  osx  os-  o--  o--  osx  osx  o--
    BudgetService/ListLedgerEntries         osx  os-  o--  o--  osx  osx  o--
    BudgetService/WatchSpend                osx  os-  o--  o--  osx  osx  o--
    BudgetService/ListBudgetAlerts          osx  os-  o--  o--  osx  osx  o--
    BudgetService/ListHolds                 osx  os-  o--  o--  osx  osx  o--
    BudgetService/CheckLedger               y    -    -    -    y    y    -
    BudgetService/ReconcileInvoice          y    -    -    -    y    y    -
    BudgetService/CreateAdjustment          -    -    -    -    y    -    -
    BudgetService/ApproveAdjustment         y    -    -    -    -    -    -
    BudgetService/ListAdjustments           y    -    -    -    y    y    -
    BudgetService/CloseReplica              y    -    -    -    -    -    -
    AuditService/QueryRecords               y    y    -    y    -    y    -
    AuditService/TailRecords                y    y    -    y    -    y    -
    AuditService/ListLogs                   y    -    -    -    -    -    -
    AuditService/GetInclusionProof          y    -    -    -    -    -    -
    AuditService/GetConsistencyProof        y    -    -    -    -    -    -
    AuditService/ExportLog                  y    -    -    -    -    -    -
    AuditService/GetBody                    y    -    -    -    -    -    -
    AuditService/EraseBodies                y    -    -    -    -    -    -
    AuditService/CreateLegalHold            y    -    -    -    -    -    -
    AuditService/ListLegalHolds             y    -    -    -    -    -    -
    AuditService/ReleaseLegalHold           y    -    -    -    -    -    -
";

const ROLES: [v1::KeyRole; 7] = [
    v1::KeyRole::PlatformAdmin,
    v1::KeyRole::OrganizationAdmin,
    v1::KeyRole::TeamAdmin,
    v1::KeyRole::Member,
    v1::KeyRole::Finance,
    v1::KeyRole::Auditor,
    v1::KeyRole::Caller,
];

/// A place and what lies there.
#[derive(Clone, Default)]
struct Place {
    organization: String,
    team: String,
    user: String,
    key: String,
    budget: String,
}

struct Cells {
    world: World,
    admin: Client,
    places: [Place; 3],
}

/// What an RPC was answered with.
fn is_allowed<T>(answer: Result<T, Status>) -> bool {
    match answer {
        Ok(_) => true,
        Err(status) => {
            let why = reason(&status).unwrap_or_else(|| panic!("{status:?}"));
            assert!(why != v1::ErrorReason::Internal, "{status:?}");
            why != v1::ErrorReason::RoleNotAllowed
        }
    }
}

async fn is_stream_allowed<T: std::fmt::Debug>(answer: Result<tonic::Response<tonic::Streaming<T>>, Status>) -> bool {
    match answer {
        Err(status) => is_allowed::<()>(Err(status)),
        // A refusal may come as the first thing of the stream; silence is none.
        Ok(stream) => {
            let mut stream = stream.into_inner();
            match tokio::time::timeout(std::time::Duration::from_millis(50), stream.message()).await {
                Ok(first) => is_allowed(first),
                Err(_) => true,
            }
        }
    }
}

impl Cells {
    async fn new() -> Self {
        let world = World::start().await;
        let admin = world.admin().await;
        let mut tenancy = admin.tenancy();
        let mut organizations = Vec::new();
        for name in ["a", "b"] {
            let asked = v1::Organization { display_name: name.into(), ..Default::default() };
            let asked = v1::CreateOrganizationRequest { organization: Some(asked), ..Default::default() };
            organizations.push(tenancy.create_organization(asked).await.unwrap().into_inner().organization.unwrap().id);
        }
        let mut cells = Self { world, admin, places: Default::default() };
        for (i, organization) in [0, 0, 1].into_iter().enumerate() {
            cells.places[i] = cells.settle(&organizations[organization]).await;
        }
        cells
    }

    /// A team, a user, a key of both and its budget.
    async fn settle(&self, organization: &str) -> Place {
        let mut tenancy = self.admin.tenancy();
        let team = v1::Team { organization_id: organization.into(), models: vec!["*".into()], ..Default::default() };
        let team = v1::CreateTeamRequest { team: Some(team), ..Default::default() };
        let team = tenancy.create_team(team).await.unwrap().into_inner().team.unwrap().id;
        let user = v1::User { organization_id: organization.into(), ..Default::default() };
        let user = v1::CreateUserRequest { user: Some(user), ..Default::default() };
        let user = tenancy.create_user(user).await.unwrap().into_inner().user.unwrap().id;
        let mut place = Place { organization: organization.into(), team, user, ..Default::default() };
        let member = v1::AddTeamMemberRequest { team_id: place.team.clone(), user_id: place.user.clone() };
        tenancy.add_team_member(member).await.unwrap();
        let made = self.mint(&place, v1::KeyRole::Caller, Some(1_000_000_000)).await;
        (place.key, place.budget) = (made.key.unwrap().id, made.budget_id);
        place
    }

    async fn mint(&self, place: &Place, role: v1::KeyRole, budget: Option<i64>) -> v1::CreateKeyResponse {
        let key = key_at(place, role);
        let asked = v1::CreateKeyRequest { key: Some(key), budget_nano_usd: budget, ..Default::default() };
        self.admin.keys().create_key(asked).await.unwrap().into_inner()
    }

    /// A client of the role at the first place, and what is its own.
    async fn actor(&self, role: v1::KeyRole) -> (Client, Place) {
        let own = &self.places[0];
        let nowhere = Place::default();
        let lies = match role {
            v1::KeyRole::PlatformAdmin | v1::KeyRole::Finance | v1::KeyRole::Auditor => &nowhere,
            _ => own,
        };
        let made = self.mint(lies, role, (role == v1::KeyRole::Caller).then_some(1_000_000_000)).await;
        let client = Client::connect(&self.world.gateway.grpc(), &made.secret).await.unwrap();
        match role {
            // A caller's own is itself.
            v1::KeyRole::Caller => (client, Place { key: made.key.unwrap().id, budget: made.budget_id, ..own.clone() }),
            _ => (client, own.clone()),
        }
    }

    /// A key that may come to harm.
    async fn victim(&self, place: &Place) -> String {
        self.mint(place, v1::KeyRole::Caller, None).await.key.unwrap().id
    }

    /// A budget that may.
    async fn victim_budget(&self, place: &Place) -> String {
        let scope = v1::BudgetScope { kind: v1::ScopeKind::Key as i32, id: place.key.clone(), ..Default::default() };
        let budget = v1::Budget { scope: Some(scope), limit_nano_usd: 1_000_000_000, ..Default::default() };
        let asked = v1::CreateBudgetRequest { budget: Some(budget), ..Default::default() };
        self.admin.budgets().create_budget(asked).await.unwrap().into_inner().budget.unwrap().id
    }

    /// Whether the actor may call an RPC on a place; for lists, whether it sees what lies there.
    async fn tries(&self, rpc: &str, client: &Client, at: &Place) -> bool {
        let (mut keys, mut tenancy, mut budgets) = (client.keys(), client.tenancy(), client.budgets());
        let id = at.key.clone();
        match rpc {
            "KeyAdminService/CreateKey" => {
                let asked = v1::CreateKeyRequest { key: Some(key_at(at, v1::KeyRole::Caller)), ..Default::default() };
                is_allowed(keys.create_key(asked).await)
            }
            "KeyAdminService/GetKey" => is_allowed(keys.get_key(v1::GetKeyRequest { id, ..Default::default() }).await),
            "KeyAdminService/ListKeys" => {
                let all = v1::ListKeysRequest { page_size: 1_000, ..Default::default() };
                keys.list_keys(all).await.is_ok_and(|page| page.into_inner().keys.iter().any(|k| k.id == at.key))
            }
            "KeyAdminService/UpdateKey" => {
                let key = v1::Key { id, display_name: "changed".into(), ..Default::default() };
                is_allowed(
                    keys.update_key(v1::UpdateKeyRequest { key: Some(key), update_mask: None, ..Default::default() })
                        .await,
                )
            }
            "KeyAdminService/RotateKey" => {
                let asked = v1::RotateKeyRequest { id: self.victim(at).await, ..Default::default() };
                is_allowed(keys.rotate_key(asked).await)
            }
            "KeyAdminService/BlockKey" => {
                is_allowed(keys.block_key(v1::BlockKeyRequest { id: self.victim(at).await }).await)
            }
            "KeyAdminService/UnblockKey" => {
                is_allowed(keys.unblock_key(v1::UnblockKeyRequest { id: self.victim(at).await }).await)
            }
            "KeyAdminService/RevokeKey" => {
                is_allowed(keys.revoke_key(v1::RevokeKeyRequest { id: self.victim(at).await }).await)
            }
            "KeyAdminService/ImportKey" => {
                let key = Some(key_at(at, v1::KeyRole::Caller));
                let asked =
                    v1::ImportKeyRequest { key, sha256: vec![7; 32].into(), validate_only: true, ..Default::default() };
                is_allowed(keys.import_key(asked).await)
            }
            "TenancyService/MoveKey" => {
                let asked = v1::MoveKeyRequest { id, team_id: Some(at.team.clone()), user_id: None };
                is_allowed(tenancy.move_key(asked).await)
            }
            "TenancyService/GetOrganization" => {
                let asked = v1::GetOrganizationRequest { id: at.organization.clone() };
                is_allowed(tenancy.get_organization(asked).await)
            }
            "TenancyService/ListOrganizations" => {
                let page = tenancy.list_organizations(v1::ListOrganizationsRequest::default()).await;
                page.is_ok_and(|page| page.into_inner().organizations.iter().any(|o| o.id == at.organization))
            }
            "TenancyService/UpdateOrganization" => {
                let it =
                    v1::Organization { id: at.organization.clone(), display_name: "new".into(), ..Default::default() };
                let asked = v1::UpdateOrganizationRequest { organization: Some(it), update_mask: None };
                is_allowed(tenancy.update_organization(asked).await)
            }
            "TenancyService/DeleteOrganization" => {
                // In use, so it stays.
                let asked = v1::DeleteOrganizationRequest { id: at.organization.clone() };
                is_allowed(tenancy.delete_organization(asked).await)
            }
            "TenancyService/CreateTeam" => {
                let it = v1::Team { organization_id: at.organization.clone(), ..Default::default() };
                let asked = v1::CreateTeamRequest { team: Some(it), ..Default::default() };
                is_allowed(tenancy.create_team(asked).await)
            }
            "TenancyService/GetTeam" => is_allowed(tenancy.get_team(v1::GetTeamRequest { id: at.team.clone() }).await),
            "TenancyService/ListTeams" => {
                let all = v1::ListTeamsRequest { page_size: 1_000, ..Default::default() };
                tenancy.list_teams(all).await.is_ok_and(|page| page.into_inner().teams.iter().any(|t| t.id == at.team))
            }
            "TenancyService/UpdateTeam" => {
                let it = v1::Team { id: at.team.clone(), display_name: "new".into(), ..Default::default() };
                is_allowed(tenancy.update_team(v1::UpdateTeamRequest { team: Some(it), update_mask: None }).await)
            }
            "TenancyService/DeleteTeam" => {
                is_allowed(tenancy.delete_team(v1::DeleteTeamRequest { id: at.team.clone() }).await)
            }
            "TenancyService/AddTeamMember" => {
                let asked = v1::AddTeamMemberRequest { team_id: at.team.clone(), user_id: at.user.clone() };
                is_allowed(tenancy.add_team_member(asked).await)
            }
            "TenancyService/RemoveTeamMember" => {
                let asked = v1::RemoveTeamMemberRequest { team_id: at.team.clone(), user_id: "nobody".into() };
                is_allowed(tenancy.remove_team_member(asked).await)
            }
            "TenancyService/CreateUser" => {
                let it = v1::User { organization_id: at.organization.clone(), ..Default::default() };
                let asked = v1::CreateUserRequest { user: Some(it), ..Default::default() };
                is_allowed(tenancy.create_user(asked).await)
            }
            "TenancyService/GetUser" => is_allowed(tenancy.get_user(v1::GetUserRequest { id: at.user.clone() }).await),
            "TenancyService/ListUsers" => {
                let all = v1::ListUsersRequest { page_size: 1_000, ..Default::default() };
                tenancy.list_users(all).await.is_ok_and(|page| page.into_inner().users.iter().any(|u| u.id == at.user))
            }
            "TenancyService/UpdateUser" => {
                let it = v1::User { id: at.user.clone(), display_name: "new".into(), ..Default::default() };
                is_allowed(tenancy.update_user(v1::UpdateUserRequest { user: Some(it), update_mask: None }).await)
            }
            "TenancyService/DeleteUser" => {
                is_allowed(tenancy.delete_user(v1::DeleteUserRequest { id: at.user.clone() }).await)
            }
            "BudgetService/CreateBudget" => {
                let scope =
                    v1::BudgetScope { kind: v1::ScopeKind::Key as i32, id: at.key.clone(), ..Default::default() };
                let budget = v1::Budget { scope: Some(scope), limit_nano_usd: 1_000_000_000, ..Default::default() };
                let asked = v1::CreateBudgetRequest { budget: Some(budget), ..Default::default() };
                is_allowed(budgets.create_budget(asked).await)
            }
            "BudgetService/GetBudget" => {
                let asked = v1::GetBudgetRequest { id: at.budget.clone(), ..Default::default() };
                is_allowed(budgets.get_budget(asked).await)
            }
            "BudgetService/ListBudgets" => {
                let all = v1::ListBudgetsRequest { page_size: 1_000, ..Default::default() };
                budgets.list_budgets(all).await.is_ok_and(|p| p.into_inner().budgets.iter().any(|b| b.id == at.budget))
            }
            "BudgetService/UpdateBudget" => {
                let budget = v1::Budget { id: at.budget.clone(), limit_nano_usd: 999_999_999, ..Default::default() };
                is_allowed(
                    budgets.update_budget(v1::UpdateBudgetRequest { budget: Some(budget), ..Default::default() }).await,
                )
            }
            "BudgetService/IncreaseBudget" => {
                let asked = v1::IncreaseBudgetRequest { id: at.budget.clone(), increase: None };
                is_allowed(budgets.increase_budget(asked).await)
            }
            "BudgetService/DeleteBudget" => {
                let asked = v1::DeleteBudgetRequest { id: self.victim_budget(at).await };
                is_allowed(budgets.delete_budget(asked).await)
            }
            "BudgetService/GetSpend" => {
                is_allowed(budgets.get_spend(v1::GetSpendRequest { key_id: id, ..Default::default() }).await)
            }
            "BudgetService/ListLedgerEntries" => {
                let asked = v1::ListLedgerEntriesRequest { key_id: id, ..Default::default() };
                is_allowed(budgets.list_ledger_entries(asked).await)
            }
            "BudgetService/WatchSpend" => {
                let asked = v1::WatchSpendRequest { key_id: id, ..Default::default() };
                is_stream_allowed(budgets.watch_spend(asked).await).await
            }
            "BudgetService/ListBudgetAlerts" => {
                let asked = v1::ListBudgetAlertsRequest { budget_id: at.budget.clone(), ..Default::default() };
                is_allowed(budgets.list_budget_alerts(asked).await)
            }
            "BudgetService/ListHolds" => {
                is_allowed(budgets.list_holds(v1::ListHoldsRequest { budget_id: at.budget.clone() }).await)
            }
            other => panic!("{other} has no case"),
        }
    }

    /// The same for RPCs without a target.
    async fn tries_untargeted(&self, rpc: &str, client: &Client) -> bool {
        let mut budgets = client.budgets();
        match rpc {
            "CompletionService/CreateCompletion" => {
                let asked = v1::CreateCompletionRequest { request: Some(request()) };
                is_allowed(client.completions().create_completion(asked).await)
            }
            "CompletionService/StreamCompletion" => {
                let asked = v1::StreamCompletionRequest { request: Some(request()) };
                is_stream_allowed(client.completions().stream_completion(asked).await).await
            }
            "CompletionService/CountTokens" => {
                let asked = v1::CountTokensRequest { request: Some(request()) };
                is_allowed(client.completions().count_tokens(asked).await)
            }
            "EmbeddingService/CreateEmbedding" => {
                let text = v1::EmbeddingInput { input: Some(v1::embedding_input::Input::Text("a".into())) };
                let asked = v1::CreateEmbeddingRequest {
                    model: Some("scripted".into()),
                    inputs: vec![text],
                    ..Default::default()
                };
                is_allowed(client.embeddings().create_embedding(asked).await)
            }
            "RerankService/Rerank" => {
                let asked = v1::RerankRequest {
                    model: Some("scripted".into()),
                    query: Some("q".into()),
                    documents: vec!["a".into()],
                    ..Default::default()
                };
                is_allowed(client.reranks().rerank(asked).await)
            }
            "ModerationService/CreateModeration" => {
                let text = v1::ModerationInput { input: Some(v1::moderation_input::Input::Text("a".into())) };
                let asked = v1::CreateModerationRequest {
                    model: Some("scripted".into()),
                    inputs: vec![text],
                    ..Default::default()
                };
                is_allowed(client.moderations().create_moderation(asked).await)
            }
            "FileService/CreateFile" => {
                let header = v1::FileHeader { filename: "f".into(), purpose: "vision".into(), ..Default::default() };
                let header = v1::create_file_request::Part::Header(header);
                let asked = futures::stream::iter([v1::CreateFileRequest { part: Some(header) }]);
                is_allowed(client.files().create_file(asked).await)
            }
            "FileService/GetFile" => is_allowed(client.files().get_file(v1::GetFileRequest { id: "f".into() }).await),
            "FileService/ListFiles" => is_allowed(client.files().list_files(v1::ListFilesRequest::default()).await),
            "FileService/DeleteFile" => {
                is_allowed(client.files().delete_file(v1::DeleteFileRequest { id: "f".into() }).await)
            }
            "FileService/GetFileContent" => {
                is_allowed(client.files().get_file_content(v1::GetFileContentRequest { id: "f".into() }).await)
            }
            "BatchService/CreateBatch" => {
                is_allowed(client.batches().create_batch(v1::CreateBatchRequest::default()).await)
            }
            "BatchService/GetBatch" => {
                is_allowed(client.batches().get_batch(v1::GetBatchRequest { id: "b".into() }).await)
            }
            "BatchService/ListBatches" => {
                is_allowed(client.batches().list_batches(v1::ListBatchesRequest::default()).await)
            }
            "BatchService/CancelBatch" => {
                is_allowed(client.batches().cancel_batch(v1::CancelBatchRequest { id: "b".into() }).await)
            }
            "ImageService/GenerateImage" => {
                let asked = v1::GenerateImageRequest {
                    model: Some("scripted".into()),
                    prompt: Some("a gate".into()),
                    ..Default::default()
                };
                is_allowed(client.images().generate_image(asked).await)
            }
            "ImageService/StreamImage" => {
                let asked = v1::GenerateImageRequest {
                    model: Some("scripted".into()),
                    prompt: Some("a gate".into()),
                    ..Default::default()
                };
                let asked = v1::StreamImageRequest { request: Some(asked) };
                is_allowed(client.images().stream_image(asked).await)
            }
            "ImageService/EditImage" => {
                let head = v1::EditImageHead {
                    model: Some("scripted".into()),
                    prompt: Some("a gate".into()),
                    ..Default::default()
                };
                let part = Some(v1::edit_image_request::Part::Head(head));
                is_allowed(client.images().edit_image(tokio_stream::once(v1::EditImageRequest { part })).await)
            }
            "AudioService/CreateSpeech" => {
                let asked = v1::CreateSpeechRequest {
                    model: Some("scripted".into()),
                    input: Some("a gate".into()),
                    ..Default::default()
                };
                is_allowed(client.audio().create_speech(asked).await)
            }
            "AudioService/CreateTranscription" => {
                let head = v1::TranscriptionHead { model: Some("scripted".into()), ..Default::default() };
                let part = Some(v1::create_transcription_request::Part::Head(head));
                let asked = tokio_stream::once(v1::CreateTranscriptionRequest { part });
                is_allowed(client.audio().create_transcription(asked).await)
            }
            "ResponseService/StoreResponse" => {
                let response =
                    v1::StoredResponse { id: "resp_1".into(), response_json: "{}".into(), ..Default::default() };
                let asked = v1::StoreResponseRequest { response: Some(response) };
                is_allowed(client.responses().store_response(asked).await)
            }
            "ResponseService/GetResponse" => is_allowed(
                client
                    .responses()
                    .get_response(v1::GetResponseRequest { by: Some(v1::get_response_request::By::Id("none".into())) })
                    .await,
            ),
            "ResponseService/GetConversation" => {
                let asked = v1::GetConversationRequest { id: "none".into() };
                is_allowed(client.responses().get_conversation(asked).await)
            }
            "ResponseService/DeleteResponse" => {
                is_allowed(client.responses().delete_response(v1::DeleteResponseRequest { id: "none".into() }).await)
            }
            "ResponseService/BeginResponse" => {
                let response =
                    v1::StoredResponse { id: "resp_2".into(), response_json: "{}".into(), ..Default::default() };
                let asked = v1::BeginResponseRequest { response: Some(response) };
                is_allowed(client.responses().begin_response(asked).await)
            }
            "ResponseService/AdvanceResponse" => {
                let asked = v1::AdvanceResponseRequest { id: "none".into(), ..Default::default() };
                is_allowed(client.responses().advance_response(asked).await)
            }
            "ResponseService/CancelResponse" => {
                is_allowed(client.responses().cancel_response(v1::CancelResponseRequest { id: "none".into() }).await)
            }
            "ResponseService/ListResponseEvents" => {
                let asked = v1::ListResponseEventsRequest { id: "none".into(), ..Default::default() };
                is_allowed(client.responses().list_response_events(asked).await)
            }
            "ModelService/ListModels" => {
                is_allowed(client.models().list_models(v1::ListModelsRequest::default()).await)
            }
            "ModelService/GetModel" => {
                is_allowed(client.models().get_model(v1::GetModelRequest { name: "scripted".into() }).await)
            }
            "ModelService/GetRouteState" => {
                let asked = v1::GetRouteStateRequest { model: "scripted".into() };
                is_allowed(client.models().get_route_state(asked).await)
            }
            "ModelService/ExplainRoute" => {
                let asked = v1::ExplainRouteRequest { request: Some(crate::support::request()) };
                is_allowed(client.models().explain_route(asked).await)
            }
            "ModelService/ListCatalogueModels" => {
                is_allowed(client.models().list_catalogue_models(v1::ListCatalogueModelsRequest::default()).await)
            }
            "ModelService/GetCatalogueModel" => {
                let asked = v1::GetCatalogueModelRequest { provider: "openai".into(), model: "gpt-4o".into() };
                is_allowed(client.models().get_catalogue_model(asked).await)
            }
            "ModelService/CreateModel" => {
                is_allowed(client.models().create_model(v1::CreateModelRequest::default()).await)
            }
            "ModelService/ListRuntimeModels" => {
                is_allowed(client.models().list_runtime_models(v1::ListRuntimeModelsRequest::default()).await)
            }
            "ModelService/DeleteModel" => {
                is_allowed(client.models().delete_model(v1::DeleteModelRequest { id: "none".into() }).await)
            }
            "ModelService/CheckHealth" => {
                is_allowed(client.models().check_health(v1::CheckHealthRequest::default()).await)
            }
            "TenancyService/CreateOrganization" => {
                let asked = v1::CreateOrganizationRequest {
                    organization: Some(v1::Organization::default()),
                    ..Default::default()
                };
                is_allowed(client.tenancy().create_organization(asked).await)
            }
            "BudgetService/CheckLedger" => is_allowed(budgets.check_ledger(v1::CheckLedgerRequest {}).await),
            "BudgetService/ReconcileInvoice" => {
                is_allowed(budgets.reconcile_invoice(v1::ReconcileInvoiceRequest::default()).await)
            }
            "BudgetService/CreateAdjustment" => {
                is_allowed(budgets.create_adjustment(v1::CreateAdjustmentRequest::default()).await)
            }
            "BudgetService/ApproveAdjustment" => {
                is_allowed(budgets.approve_adjustment(v1::ApproveAdjustmentRequest { id: "none".into() }).await)
            }
            "BudgetService/ListAdjustments" => {
                is_allowed(budgets.list_adjustments(v1::ListAdjustmentsRequest::default()).await)
            }
            "BudgetService/CloseReplica" => {
                is_allowed(budgets.close_replica(v1::CloseReplicaRequest { replica: "none".into() }).await)
            }
            "AuditService/QueryRecords" => {
                is_stream_allowed(client.audit().query_records(v1::QueryRecordsRequest::default()).await).await
            }
            "AuditService/TailRecords" => {
                is_stream_allowed(client.audit().tail_records(v1::TailRecordsRequest::default()).await).await
            }
            "AuditService/ListLogs" => is_allowed(client.audit().list_logs(v1::ListLogsRequest {}).await),
            "AuditService/GetInclusionProof" => {
                is_allowed(client.audit().get_inclusion_proof(v1::GetInclusionProofRequest::default()).await)
            }
            "AuditService/GetConsistencyProof" => {
                is_allowed(client.audit().get_consistency_proof(v1::GetConsistencyProofRequest::default()).await)
            }
            "AuditService/ExportLog" => {
                is_stream_allowed(client.audit().export_log(v1::ExportLogRequest::default()).await).await
            }
            "AuditService/GetBody" => {
                is_allowed(client.audit().get_body(v1::GetBodyRequest { call_id: "none".into() }).await)
            }
            "AuditService/EraseBodies" => {
                is_allowed(client.audit().erase_bodies(v1::EraseBodiesRequest::default()).await)
            }
            "AuditService/CreateLegalHold" => {
                is_allowed(client.audit().create_legal_hold(v1::CreateLegalHoldRequest::default()).await)
            }
            "AuditService/ListLegalHolds" => {
                is_allowed(client.audit().list_legal_holds(v1::ListLegalHoldsRequest::default()).await)
            }
            "AuditService/ReleaseLegalHold" => {
                is_allowed(client.audit().release_legal_hold(v1::ReleaseLegalHoldRequest { id: "none".into() }).await)
            }
            other => panic!("{other} has no case"),
        }
    }
}

fn key_at(place: &Place, role: v1::KeyRole) -> v1::Key {
    v1::Key {
        organization_id: place.organization.clone(),
        team_id: place.team.clone(),
        user_id: place.user.clone(),
        role: role as i32,
        models: vec!["*".into()],
        ..Default::default()
    }
}

fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    CELLS.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|row| !row.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_reaches_what_the_matrix_says_and_nothing_else() {
    let cells = Cells::new().await;
    let mut wrong = Vec::new();
    for (i, role) in ROLES.into_iter().enumerate() {
        let (client, own) = cells.actor(role).await;
        for row in rows() {
            let (rpc, expected) = (row[0], row[i + 1]);
            let mut found = String::new();
            if expected.len() == 1 {
                found.push(if cells.tries_untargeted(rpc, &client).await { 'y' } else { '-' });
            } else {
                for (place, letter) in [(&own, 'o'), (&cells.places[1], 's'), (&cells.places[2], 'x')] {
                    found.push(if cells.tries(rpc, &client, place).await { letter } else { '-' });
                }
            }
            if found != expected {
                wrong.push(format!("{role:?} {rpc}: expected {expected}, found {found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_matrix_has_a_row_for_every_rpc() {
    let descriptors = prost_types::FileDescriptorSet::decode(tollgate_proto::FILE_DESCRIPTOR_SET).unwrap();
    let files = descriptors.file.iter().filter(|f| f.package() == "tollgate.v1");
    let services = files.flat_map(|f| &f.service);
    let contract: BTreeSet<String> =
        services.flat_map(|s| s.method.iter().map(|m| format!("{}/{}", s.name(), m.name()))).collect();
    let tested: BTreeSet<String> = rows().map(|row| row[0].to_owned()).collect();
    let decided: BTreeSet<String> = tollgate_control::RPCS.iter().map(|(rpc, _)| (*rpc).to_owned()).collect();
    assert_eq!(contract, tested);
    assert_eq!(contract, decided);
}
