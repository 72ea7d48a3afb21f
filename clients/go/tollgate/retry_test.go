package tollgate

import (
	"slices"
	"testing"
)

// The decision for every RPC of the contract: a new one fails here until somebody has made it.
func TestEveryRPCIsEitherSafeToRepeatOrNot(t *testing.T) {
	t.Parallel()
	safe := []string{
		"CheckHealth", "CheckLedger", "CountTokens", "CreateAdjustment", "CreateBudget", "CreateKey", "CreateModel",
		"CreateOrganization", "CreateTeam", "CreateUser", "ExplainRoute", "GetBatch", "GetBody", "GetBudget", "GetCatalogueModel",
		"GetConsistencyProof", "GetConversation", "GetFile", "GetFileContent", "GetInclusionProof", "GetKey", "GetModel",
		"GetOrganization", "GetResponse", "GetRouteState",
		"GetSpend", "GetTeam", "GetUser", "ListAdjustments", "ListBatches", "ListBudgetAlerts", "ListBudgets",
		"ListCatalogueModels", "ListFiles", "ListHolds", "ListKeys", "ListLedgerEntries", "ListLegalHolds", "ListLogs", "ListModels", "ListOrganizations",
		"ListResponseEvents", "ListRuntimeModels", "ListTeams", "ListUsers", "QueryRecords",
	}
	once := []string{
		"AddTeamMember", "AdvanceResponse", "ApproveAdjustment", "BeginResponse", "BlockKey", "CancelBatch", "CancelResponse",
		"CloseReplica", "CreateBatch", "CreateCompletion", "CreateEmbedding", "CreateFile", "CreateLegalHold", "CreateModeration", "CreateSpeech",
		"CreateTranscription", "DeleteBudget", "DeleteFile", "DeleteModel", "DeleteOrganization", "DeleteResponse", "DeleteTeam",
		"DeleteUser", "EditImage", "EraseBodies", "ExportLog", "GenerateImage", "ImportKey", "IncreaseBudget", "MoveKey", "ReconcileInvoice", "ReleaseLegalHold",
		"RemoveTeamMember", "Rerank", "RevokeKey", "RotateKey", "StoreResponse", "StreamCompletion", "StreamImage",
		"TailRecords", "UnblockKey", "UpdateBudget", "UpdateKey", "UpdateOrganization", "UpdateTeam", "UpdateUser",
		"WatchSpend",
	}
	var isSafe, isOnce []string
	for _, method := range methods() {
		if repeatable(method) {
			isSafe = append(isSafe, string(method.Name()))
		} else {
			isOnce = append(isOnce, string(method.Name()))
		}
	}
	slices.Sort(isSafe)
	slices.Sort(isOnce)
	if !slices.Equal(isSafe, safe) || !slices.Equal(isOnce, once) {
		t.Errorf("repeated: %q\nonce: %q", isSafe, isOnce)
	}
}
