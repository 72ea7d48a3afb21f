package main

import (
	"context"
	"encoding/json"
	"iter"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"tollgate.dev/clients/go/tollgate"
	v1 "tollgate.dev/clients/go/tollgate/v1"
)

type doer func(context.Context, *tollgate.Client, call) *saw

var calls = map[string]doer{
	"complete": complete,
	"stream":   stream,
	"count_tokens": one(func(ctx context.Context, c *tollgate.Client, r *v1.CompletionRequest) (*v1.CountTokensResponse, error) {
		return c.CountTokens(ctx, r)
	}),
	"embed": one(func(ctx context.Context, c *tollgate.Client, r *v1.CreateEmbeddingRequest) (*v1.CreateEmbeddingResponse, error) {
		return c.Embeddings.Create(ctx, r)
	}),
	"get_model": one(func(ctx context.Context, c *tollgate.Client, r *v1.GetModelRequest) (*v1.Model, error) {
		return c.Models.Get(ctx, r.GetName())
	}),
	"list_models": many(func(ctx context.Context, c *tollgate.Client, r *v1.ListModelsRequest) iter.Seq2[*v1.Model, error] {
		return c.Models.List(ctx, r)
	}),

	"create_key": one(func(ctx context.Context, c *tollgate.Client, r *v1.CreateKeyRequest) (*v1.CreateKeyResponse, error) {
		return c.Keys.Create(ctx, r)
	}),
	"rotate_key": one(func(ctx context.Context, c *tollgate.Client, r *v1.RotateKeyRequest) (*v1.RotateKeyResponse, error) {
		return c.Keys.Rotate(ctx, r.GetId(), time.Duration(r.GetGraceSeconds())*time.Second)
	}),
	"get_key": one(func(ctx context.Context, c *tollgate.Client, r *v1.GetKeyRequest) (*v1.Key, error) {
		if r.GetSecret() != "" {
			return c.Keys.Find(ctx, r.GetSecret())
		}
		return c.Keys.Get(ctx, r.GetId())
	}),
	"update_key": one(func(ctx context.Context, c *tollgate.Client, r *v1.UpdateKeyRequest) (*v1.Key, error) {
		return c.Keys.Update(ctx, r.GetKey(), r.GetUpdateMask().GetPaths()...)
	}),
	"block_key": one(func(ctx context.Context, c *tollgate.Client, r *v1.BlockKeyRequest) (*v1.Key, error) {
		return c.Keys.Block(ctx, r.GetId())
	}),
	"unblock_key": one(func(ctx context.Context, c *tollgate.Client, r *v1.UnblockKeyRequest) (*v1.Key, error) {
		return c.Keys.Unblock(ctx, r.GetId())
	}),
	"revoke_key": one(func(ctx context.Context, c *tollgate.Client, r *v1.RevokeKeyRequest) (*v1.Key, error) {
		return c.Keys.Revoke(ctx, r.GetId())
	}),
	"list_keys": many(func(ctx context.Context, c *tollgate.Client, r *v1.ListKeysRequest) iter.Seq2[*v1.Key, error] {
		return c.Keys.List(ctx, r)
	}),

	"create_team": one(func(ctx context.Context, c *tollgate.Client, r *v1.CreateTeamRequest) (*v1.Team, error) {
		return c.Teams.Create(ctx, r)
	}),
	"get_team": one(func(ctx context.Context, c *tollgate.Client, r *v1.GetTeamRequest) (*v1.Team, error) {
		return c.Teams.Get(ctx, r.GetId())
	}),
	"update_team": one(func(ctx context.Context, c *tollgate.Client, r *v1.UpdateTeamRequest) (*v1.Team, error) {
		return c.Teams.Update(ctx, r.GetTeam(), r.GetUpdateMask().GetPaths()...)
	}),
	"delete_team": one(func(ctx context.Context, c *tollgate.Client, r *v1.DeleteTeamRequest) (*v1.DeleteTeamResponse, error) {
		return &v1.DeleteTeamResponse{}, c.Teams.Delete(ctx, r.GetId())
	}),
	"list_teams": many(func(ctx context.Context, c *tollgate.Client, r *v1.ListTeamsRequest) iter.Seq2[*v1.Team, error] {
		return c.Teams.List(ctx, r)
	}),
	"create_user": one(func(ctx context.Context, c *tollgate.Client, r *v1.CreateUserRequest) (*v1.User, error) {
		return c.Users.Create(ctx, r)
	}),
	"list_users": many(func(ctx context.Context, c *tollgate.Client, r *v1.ListUsersRequest) iter.Seq2[*v1.User, error] {
		return c.Users.List(ctx, r)
	}),
	"create_organization": one(func(ctx context.Context, c *tollgate.Client, r *v1.CreateOrganizationRequest) (*v1.Organization, error) {
		return c.Organizations.Create(ctx, r)
	}),
	"list_organizations": many(func(ctx context.Context, c *tollgate.Client, r *v1.ListOrganizationsRequest) iter.Seq2[*v1.Organization, error] {
		return c.Organizations.List(ctx, r)
	}),

	"create_budget": one(func(ctx context.Context, c *tollgate.Client, r *v1.CreateBudgetRequest) (*v1.Budget, error) {
		return c.Budgets.Create(ctx, r)
	}),
	"get_budget": one(func(ctx context.Context, c *tollgate.Client, r *v1.GetBudgetRequest) (*v1.Budget, error) {
		if r.GetId() == "" {
			return c.Budgets.OfKey(ctx, r.GetKeyId())
		}
		return c.Budgets.Get(ctx, r.GetId())
	}),
	"update_budget": one(func(ctx context.Context, c *tollgate.Client, r *v1.UpdateBudgetRequest) (*v1.Budget, error) {
		return c.Budgets.Update(ctx, r.GetBudget(), r.GetUpdateMask().GetPaths()...)
	}),
	"increase_budget": one(func(ctx context.Context, c *tollgate.Client, r *v1.IncreaseBudgetRequest) (*v1.Budget, error) {
		return c.Budgets.Increase(ctx, r.GetId(), r.GetIncrease())
	}),
	"delete_budget": one(func(ctx context.Context, c *tollgate.Client, r *v1.DeleteBudgetRequest) (*v1.DeleteBudgetResponse, error) {
		return &v1.DeleteBudgetResponse{}, c.Budgets.Delete(ctx, r.GetId())
	}),
	"list_budgets": many(func(ctx context.Context, c *tollgate.Client, r *v1.ListBudgetsRequest) iter.Seq2[*v1.Budget, error] {
		return c.Budgets.List(ctx, r)
	}),
	"get_spend": one(func(ctx context.Context, c *tollgate.Client, r *v1.GetSpendRequest) (*v1.GetSpendResponse, error) {
		return c.Spend.Get(ctx, r)
	}),
	"list_ledger": many(func(ctx context.Context, c *tollgate.Client, r *v1.ListLedgerEntriesRequest) iter.Seq2[*v1.LedgerEntry, error] {
		return c.Spend.Ledger(ctx, r)
	}),
	"query_audit": many(func(ctx context.Context, c *tollgate.Client, r *v1.QueryRecordsRequest) iter.Seq2[*v1.AuditRecord, error] {
		return c.Audit.Query(ctx, r)
	}),
	"speak":        speak,
	"transcribe":   transcribe,
	"edit_image":   editImage,
	"upload_file":  uploadFile,
	"file_content": fileContent,
	"await_batch":  awaitBatch,
	"generate_image": one(func(ctx context.Context, c *tollgate.Client, r *v1.GenerateImageRequest) (*v1.GenerateImageResponse, error) {
		return c.Images.Generate(ctx, r)
	}),
	"get_file": one(func(ctx context.Context, c *tollgate.Client, r *v1.GetFileRequest) (*v1.File, error) {
		return c.Files.Get(ctx, r.GetId())
	}),
	"list_files": many(func(ctx context.Context, c *tollgate.Client, r *v1.ListFilesRequest) iter.Seq2[*v1.File, error] {
		return c.Files.List(ctx, r)
	}),
	"delete_file": one(func(ctx context.Context, c *tollgate.Client, r *v1.DeleteFileRequest) (*v1.DeleteFileResponse, error) {
		return &v1.DeleteFileResponse{}, c.Files.Delete(ctx, r.GetId())
	}),
	"create_batch": one(func(ctx context.Context, c *tollgate.Client, r *v1.CreateBatchRequest) (*v1.Batch, error) {
		return c.Batches.Create(ctx, r)
	}),
	"cancel_batch": one(func(ctx context.Context, c *tollgate.Client, r *v1.CancelBatchRequest) (*v1.Batch, error) {
		return c.Batches.Cancel(ctx, r.GetId())
	}),
	"list_batches": many(func(ctx context.Context, c *tollgate.Client, r *v1.ListBatchesRequest) iter.Seq2[*v1.Batch, error] {
		return c.Batches.List(ctx, r)
	}),
	"tail_audit": many(func(ctx context.Context, c *tollgate.Client, r *v1.TailRecordsRequest) iter.Seq2[*v1.AuditRecord, error] {
		return c.Audit.Tail(ctx, r)
	}),
}

func complete(ctx context.Context, client *tollgate.Client, asked call) *saw {
	request, err := parsed[v1.CompletionRequest](asked.Request)
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	answer, err := client.Complete(ctx, request)
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	seen := &saw{}
	seen.read(answer)
	seen.Text = new(answer.Text())
	return seen
}

func stream(ctx context.Context, client *tollgate.Client, asked call) *saw {
	request, err := parsed[v1.CompletionRequest](asked.Request)
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	stream := client.Stream(ctx, request)
	defer stream.Close()
	seen := &saw{Received: new(int)}
	var text strings.Builder
	for event, err := range stream.Events() {
		if err != nil {
			seen.Error = failureOf(err)
			break
		}
		*seen.Received++
		if event.GetRestarted() != nil && event.GetRestarted().DiscardFromSeq != nil {
			text.Reset()
		}
		text.WriteString(event.Text())
		if kind := event.Kind(); kind != "" && (len(seen.Events) == 0 || seen.Events[len(seen.Events)-1] != kind) {
			seen.Events = append(seen.Events, kind)
		}
		if *seen.Received == asked.CancelAfterEvents {
			seen.Cancelled, seen.CancelledAtMs = true, time.Now().UnixMilli()
			break // which ends the call
		}
	}
	seen.Text = new(text.String())
	if seen.Error != nil || seen.Cancelled {
		return seen
	}
	answer, err := stream.Final()
	if err != nil {
		seen.Error = failureOf(err)
		return seen
	}
	seen.read(answer)
	return seen
}

func (s *saw) read(answer *tollgate.Answer) {
	s.Answer = asJSON(answer.Completion)
	for _, called := range answer.ToolCalls() {
		s.ToolCalls = append(s.ToolCalls, toolCall(called))
	}
	s.FinishReason = strings.TrimPrefix(answer.FinishReason().String(), "FINISH_REASON_")
	s.consumed(answer.GetUsage())
}

func (s *saw) consumed(told *v1.Usage) {
	if told != nil {
		s.Usage = &usage{told.GetInput().GetTotal(), told.GetOutput().GetTotal(), told.GetCostNanoUsd(), told.GetEstimated()}
	}
}

func (s *saw) promised(told *v1.Receipt) {
	if told != nil {
		s.Receipt = asJSON(told)
	}
}

// A call with one answer.
func one[T any, Request interface {
	*T
	proto.Message
}, Response proto.Message](do func(context.Context, *tollgate.Client, Request) (Response, error)) doer {
	return func(ctx context.Context, client *tollgate.Client, asked call) *saw {
		request, err := parsed[T, Request](asked.Request)
		if err != nil {
			return &saw{Error: failureOf(err)}
		}
		response, err := do(ctx, client, request)
		if err != nil {
			return &saw{Error: failureOf(err)}
		}
		return &saw{Answer: asJSON(response)}
	}
}

// A call with a list of answers.
func many[T any, Request interface {
	*T
	proto.Message
}, Item proto.Message](do func(context.Context, *tollgate.Client, Request) iter.Seq2[Item, error]) doer {
	return func(ctx context.Context, client *tollgate.Client, asked call) *saw {
		request, err := parsed[T, Request](asked.Request)
		if err != nil {
			return &saw{Error: failureOf(err)}
		}
		seen := &saw{Items: []json.RawMessage{}}
		for item, err := range do(ctx, client, request) {
			if err != nil {
				seen.Error = failureOf(err)
				break
			}
			seen.Items = append(seen.Items, asJSON(item))
			if len(seen.Items) == asked.Take {
				break
			}
			if len(seen.Items) == asked.CancelAfterEvents {
				seen.Cancelled, seen.CancelledAtMs = true, time.Now().UnixMilli()
				break
			}
		}
		return seen
	}
}
