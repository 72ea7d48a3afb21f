package tollgate

import (
	"context"
	"iter"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// Models tells what may be called.
type Models struct {
	rpc v1.ModelServiceClient
}

// List yields the models that the key may use, by name, over all pages. The request may be nil.
func (m *Models) List(ctx context.Context, request *v1.ListModelsRequest) iter.Seq2[*v1.Model, error] {
	next := func(r *v1.ListModelsRequest, token string) { r.PageToken = token }
	return pages(ctx, request, next, m.rpc.ListModels, (*v1.ListModelsResponse).GetModels)
}

// Get returns a model by its alias.
func (m *Models) Get(ctx context.Context, name string) (*v1.Model, error) {
	response, err := m.rpc.GetModel(ctx, &v1.GetModelRequest{Name: name})
	return response.GetModel(), err
}

// RouteState tells how the deployments of a model do at the replica that answers.
func (m *Models) RouteState(ctx context.Context, model string) ([]*v1.RouteState, error) {
	response, err := m.rpc.GetRouteState(ctx, &v1.GetRouteStateRequest{Model: model})
	return response.GetStates(), err
}

// Explain tells where a call would go now and why, without making it.
func (m *Models) Explain(ctx context.Context, request *v1.CompletionRequest) (*v1.ExplainRouteResponse, error) {
	return m.rpc.ExplainRoute(ctx, &v1.ExplainRouteRequest{Request: request})
}

// Catalogue yields the models of the built-in catalogue, configured or not, over all pages. The request narrows them; nil: all.
func (m *Models) Catalogue(ctx context.Context, request *v1.ListCatalogueModelsRequest) iter.Seq2[*v1.CatalogueModel, error] {
	next := func(r *v1.ListCatalogueModelsRequest, token string) { r.PageToken = token }
	return pages(ctx, request, next, m.rpc.ListCatalogueModels, (*v1.ListCatalogueModelsResponse).GetModels)
}

// Create makes a deployment that lives in the store, beside those of the configuration.
func (m *Models) Create(ctx context.Context, request *v1.CreateModelRequest) (*v1.RuntimeModel, error) {
	response, err := m.rpc.CreateModel(ctx, withID(request))
	return response.GetModel(), err
}

// Runtime yields the deployments that live in the store, oldest first, over all pages. The request may be nil.
func (m *Models) Runtime(ctx context.Context, request *v1.ListRuntimeModelsRequest) iter.Seq2[*v1.RuntimeModel, error] {
	next := func(r *v1.ListRuntimeModelsRequest, token string) { r.PageToken = token }
	return pages(ctx, request, next, m.rpc.ListRuntimeModels, (*v1.ListRuntimeModelsResponse).GetModels)
}

// Delete takes away a deployment that lives in the store; calls that it serves end in peace.
func (m *Models) Delete(ctx context.Context, id string) error {
	_, err := m.rpc.DeleteModel(ctx, &v1.DeleteModelRequest{Id: id})
	return err
}
