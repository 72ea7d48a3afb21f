package tollgate

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// Bytes of a message of an upload.
const chunkBytes = 64 * 1024

// Upload is a file to send. An *os.File is closed by whoever opened it.
type Upload struct {
	// Content is read to its end while it is sent.
	Content io.Reader
	// Filename is what it is called: by its ending many providers tell the format.
	Filename string
	// MediaType is that of the content, as in `audio/wav`; empty: `application/octet-stream`.
	MediaType string
}

func (u Upload) begin(field string) *v1.UploadFile {
	return &v1.UploadFile{Field: field, Filename: u.Filename, ContentType: u.MediaType}
}

// Sends the content, a message for each chunk. io.EOF itself, which no reader's error is here: the gateway has ended the call, and the
// answer tells why.
func (u Upload) send(chunk func([]byte) error) error {
	for {
		data := make([]byte, chunkBytes)
		read, broken := fill(data, u.Content)
		if broken != nil && broken != io.EOF {
			return fmt.Errorf("tollgate: reading %q to send it: %w", u.Filename, broken)
		}
		if read > 0 {
			if err := chunk(data[:read]); err != nil {
				return err
			}
		}
		if broken == io.EOF {
			return nil
		}
	}
}

// Reads until the chunk is full. io.ReadFull has an error for its own early end that readers which broke give too: io.ErrUnexpectedEOF.
func fill(chunk []byte, from io.Reader) (int, error) {
	at := 0
	for at < len(chunk) {
		read, err := from.Read(chunk[at:])
		at += read
		if err != nil {
			return at, err
		}
	}
	return at, nil
}

// Makes a call that sends much and answers in events. A file that cannot be read ends it: half of it must not look like the whole.
func uploaded[Request, Response any](
	ctx context.Context,
	open func(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[Request, Response], error),
	send func(func(*Request) error) error, take func(*Response),
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := open(ctx)
	if err != nil {
		return err
	}
	if err := send(stream.Send); err != nil && err != io.EOF { // a reader's own error may wrap it
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return FromError(err)
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		take(response)
	}
}

// What a stream is that ended well, and not at its end.
func unfinished() error {
	return fromStatus(status.New(codes.Internal, "the stream ended before it was finished"))
}
