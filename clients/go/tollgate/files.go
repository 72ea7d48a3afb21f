package tollgate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// Files keeps files at providers: what batches read and write. Each key sees its own.
type Files struct {
	rpc v1.FileServiceClient
}

// Upload sends a file. What the header does not say of name and media type is said by the upload.
func (f *Files) Upload(ctx context.Context, header *v1.FileHeader, file Upload) (*v1.File, error) {
	header = proto.CloneOf(header)
	header.Filename = orElse(header.GetFilename(), file.Filename)
	header.MediaType = orElse(header.GetMediaType(), file.MediaType)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.rpc.CreateFile(ctx)
	if err != nil {
		return nil, err
	}
	err = stream.Send(&v1.CreateFileRequest{Part: &v1.CreateFileRequest_Header{Header: header}})
	if err == nil {
		err = file.send(func(chunk []byte) error {
			return stream.Send(&v1.CreateFileRequest{Part: &v1.CreateFileRequest_Chunk{Chunk: chunk}})
		})
	}
	if err != nil && err != io.EOF { // a reader's own error may wrap it
		return nil, err
	}
	made, err := stream.CloseAndRecv()
	return made.GetFile(), err
}

// Get returns a file as its provider tells it now.
func (f *Files) Get(ctx context.Context, id string) (*v1.File, error) {
	response, err := f.rpc.GetFile(ctx, &v1.GetFileRequest{Id: id})
	return response.GetFile(), err
}

// List yields the key's files, the newest first unless the request says otherwise, over all pages; nil: all.
func (f *Files) List(ctx context.Context, request *v1.ListFilesRequest) iter.Seq2[*v1.File, error] {
	next := func(r *v1.ListFilesRequest, token string) { r.PageToken = token }
	return pages(ctx, request, next, f.rpc.ListFiles, (*v1.ListFilesResponse).GetFiles)
}

// Delete deletes a file at its provider.
func (f *Files) Delete(ctx context.Context, id string) error {
	_, err := f.rpc.DeleteFile(ctx, &v1.DeleteFileRequest{Id: id})
	return err
}

// Content is the bytes of a file, for io.Copy. Close it, or read it to its end.
func (f *Files) Content(ctx context.Context, id string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := f.rpc.GetFileContent(ctx, &v1.GetFileContentRequest{Id: id})
	if err != nil {
		cancel()
		return nil, err
	}
	// The first bytes tell whether there is such a file.
	first, err := stream.Recv()
	if err != nil && !errors.Is(err, io.EOF) {
		cancel()
		return nil, err
	}
	return &content{stream, cancel, first.GetChunk(), err}, nil
}

type content struct {
	stream grpc.ServerStreamingClient[v1.GetFileContentResponse]
	cancel context.CancelFunc
	rest   []byte
	err    error
}

func (c *content) Read(into []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.err != nil {
			c.cancel()
			return 0, c.err
		}
		var told *v1.GetFileContentResponse
		told, c.err = c.stream.Recv()
		c.rest = told.GetChunk()
	}
	read := copy(into, c.rest)
	c.rest = c.rest[read:]
	return read, nil
}

func (c *content) Close() error {
	c.cancel()
	return nil
}

// Batches makes batches of calls, each on an uploaded file.
type Batches struct {
	rpc v1.BatchServiceClient
}

// Words by which providers say that a batch has ended.
var ended = []string{"completed", "failed", "expired", "cancelled"}

// Create begins a batch on a file of the purpose `batch`. It is never tried again unasked: it would be charged twice.
func (b *Batches) Create(ctx context.Context, request *v1.CreateBatchRequest) (*v1.Batch, error) {
	response, err := b.rpc.CreateBatch(ctx, request)
	return response.GetBatch(), err
}

// Get returns a batch as its provider tells it now.
func (b *Batches) Get(ctx context.Context, id string) (*v1.Batch, error) {
	response, err := b.rpc.GetBatch(ctx, &v1.GetBatchRequest{Id: id})
	return response.GetBatch(), err
}

// List yields the key's batches, the newest first, over all pages; nil: all.
func (b *Batches) List(ctx context.Context, request *v1.ListBatchesRequest) iter.Seq2[*v1.Batch, error] {
	next := func(r *v1.ListBatchesRequest, token string) { r.PageToken = token }
	return pages(ctx, request, next, b.rpc.ListBatches, (*v1.ListBatchesResponse).GetBatches)
}

// Cancel asks the provider to stop a batch. What was answered until then is paid for.
func (b *Batches) Cancel(ctx context.Context, id string) (*v1.Batch, error) {
	response, err := b.rpc.CancelBatch(ctx, &v1.CancelBatchRequest{Id: id})
	return response.GetBatch(), err
}

// Wait waits until a batch has ended, well or not, and looks every so often. Batches take hours: only the context ends the waiting, with
// [*DeadlineExceeded] or [*Cancelled], and the batch goes on.
func (b *Batches) Wait(ctx context.Context, id string, every time.Duration) (*v1.Batch, error) {
	for {
		batch, err := b.Get(ctx, id)
		if err != nil || slices.Contains(ended, batch.GetStatus()) {
			return batch, err
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return nil, waited(ctx, id)
		}
	}
}

func waited(ctx context.Context, id string) error {
	code := codes.Canceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code = codes.DeadlineExceeded
	}
	return fromStatus(status.New(code, fmt.Sprintf("batch %s has not ended: %v", id, ctx.Err())))
}
