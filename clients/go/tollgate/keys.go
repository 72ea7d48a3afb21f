package tollgate

import (
	"context"
	"iter"
	"time"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// Keys issues and governs virtual keys.
type Keys struct {
	rpc     v1.KeyAdminServiceClient
	tenancy v1.TenancyServiceClient
}

// Create makes a key. The response holds its secret, the only time that it can be read; where a request id was used before, or a first try
// of this call had made the key though its answer was lost, the secret is empty: Rotate gives another.
func (k *Keys) Create(ctx context.Context, request *v1.CreateKeyRequest) (*v1.CreateKeyResponse, error) {
	return k.rpc.CreateKey(ctx, withID(request))
}

// Get returns a key by its id; empty: the caller's own.
func (k *Keys) Get(ctx context.Context, id string) (*v1.Key, error) {
	response, err := k.rpc.GetKey(ctx, &v1.GetKeyRequest{Id: id})
	return response.GetKey(), err
}

// Find returns the key that a secret opens, whether it works or not.
func (k *Keys) Find(ctx context.Context, secret string) (*v1.Key, error) {
	response, err := k.rpc.GetKey(ctx, &v1.GetKeyRequest{Secret: secret})
	return response.GetKey(), err
}

// List yields keys, oldest first, over all pages. The request narrows them; nil: all that the caller may see.
func (k *Keys) List(ctx context.Context, request *v1.ListKeysRequest) iter.Seq2[*v1.Key, error] {
	return pages(ctx, request, func(r *v1.ListKeysRequest, token string) { r.PageToken = token }, k.rpc.ListKeys, (*v1.ListKeysResponse).GetKeys)
}

// Update changes the fields of the key that the paths name, as in `display_name`; no path: those that are set. An etag, where set, must match.
func (k *Keys) Update(ctx context.Context, key *v1.Key, paths ...string) (*v1.Key, error) {
	response, err := k.rpc.UpdateKey(ctx, &v1.UpdateKeyRequest{Key: key, UpdateMask: mask(paths)})
	return response.GetKey(), err
}

// Rotate gives the key a new secret, which the response holds; the old one works on for the grace period, in whole seconds.
func (k *Keys) Rotate(ctx context.Context, id string, grace time.Duration) (*v1.RotateKeyResponse, error) {
	return k.rpc.RotateKey(ctx, &v1.RotateKeyRequest{Id: id, GraceSeconds: new(int64(grace / time.Second))})
}

// Block refuses the key's calls until it is unblocked.
func (k *Keys) Block(ctx context.Context, id string) (*v1.Key, error) {
	response, err := k.rpc.BlockKey(ctx, &v1.BlockKeyRequest{Id: id})
	return response.GetKey(), err
}

// Unblock takes the block away.
func (k *Keys) Unblock(ctx context.Context, id string) (*v1.Key, error) {
	response, err := k.rpc.UnblockKey(ctx, &v1.UnblockKeyRequest{Id: id})
	return response.GetKey(), err
}

// Revoke ends the key for good; its history stays.
func (k *Keys) Revoke(ctx context.Context, id string) (*v1.Key, error) {
	response, err := k.rpc.RevokeKey(ctx, &v1.RevokeKeyRequest{Id: id})
	return response.GetKey(), err
}

// Move puts a key into another team, to another user or both; nil leaves as it is, an empty id takes away.
func (k *Keys) Move(ctx context.Context, id string, teamID, userID *string) (*v1.Key, error) {
	response, err := k.tenancy.MoveKey(ctx, &v1.MoveKeyRequest{Id: id, TeamId: teamID, UserId: userID})
	return response.GetKey(), err
}

// Import takes over a key of another gateway by the hash of its secret.
func (k *Keys) Import(ctx context.Context, request *v1.ImportKeyRequest) (*v1.ImportKeyResponse, error) {
	return k.rpc.ImportKey(ctx, request)
}
