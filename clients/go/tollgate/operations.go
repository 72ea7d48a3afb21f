package tollgate

import (
	"context"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// Embeddings turns texts into vectors.
type Embeddings struct {
	rpc v1.EmbeddingServiceClient
}

// Create embeds every input of the request; the vectors come in the order of the inputs.
func (e *Embeddings) Create(ctx context.Context, request *v1.CreateEmbeddingRequest) (*v1.CreateEmbeddingResponse, error) {
	return e.rpc.CreateEmbedding(ctx, request)
}

// Texts embeds texts with a model: one vector for each, in order.
func (e *Embeddings) Texts(ctx context.Context, model string, texts ...string) ([][]float32, error) {
	request := &v1.CreateEmbeddingRequest{Model: &model}
	for _, text := range texts {
		request.Inputs = append(request.Inputs, &v1.EmbeddingInput{Input: &v1.EmbeddingInput_Text{Text: text}})
	}
	response, err := e.Create(ctx, request)
	if err != nil {
		return nil, err
	}
	vectors := make([][]float32, 0, len(texts))
	for _, embedding := range response.GetEmbeddings() {
		vectors = append(vectors, embedding.GetValues())
	}
	return vectors, nil
}

// Rerank ranks documents by what they have to do with a query; the best come first.
func (c *Client) Rerank(ctx context.Context, request *v1.RerankRequest) (*v1.RerankResponse, error) {
	return c.reranks.Rerank(ctx, request)
}

// Moderate judges texts and images by a provider's content policy.
func (c *Client) Moderate(ctx context.Context, request *v1.CreateModerationRequest) (*v1.CreateModerationResponse, error) {
	return c.moderations.CreateModeration(ctx, request)
}

// GenerateImage makes images from words.
func (c *Client) GenerateImage(ctx context.Context, request *v1.GenerateImageRequest) (*v1.GenerateImageResponse, error) {
	return c.images.GenerateImage(ctx, request)
}
