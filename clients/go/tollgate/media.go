package tollgate

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// Audio speaks texts, and writes down what is said.
type Audio struct {
	rpc v1.AudioServiceClient
}

// Speak speaks a text. The sound comes while it is made; close it, or read it to its end.
func (a *Audio) Speak(ctx context.Context, request *v1.CreateSpeechRequest) (*Speech, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := a.rpc.CreateSpeech(ctx, request)
	if err != nil {
		cancel()
		return nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		cancel()
		if errors.Is(err, io.EOF) {
			return nil, unfinished()
		}
		return nil, err
	}
	return &Speech{stream: stream, cancel: cancel, contentType: first.GetContentType()}, nil
}

// Speech is sound on its way: an io.ReadCloser, for io.Copy into a file.
type Speech struct {
	stream      grpc.ServerStreamingClient[v1.CreateSpeechResponse]
	cancel      context.CancelFunc
	contentType string
	usage       *v1.Usage
	receipt     *v1.Receipt
	rest        []byte
	err         error
}

// ContentType is the media type of the sound, as in `audio/mpeg`.
func (s *Speech) ContentType() string { return s.contentType }

// Usage is what the call consumed, once the sound was read to its end; nil before.
func (s *Speech) Usage() *v1.Usage { return s.usage }

// Receipt is the audit log's promise, once the sound was read to its end; nil where it was not asked for.
func (s *Speech) Receipt() *v1.Receipt { return s.receipt }

// Read reads the next bytes of the sound. Sound that breaks off is an error, never io.EOF.
func (s *Speech) Read(into []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.next()
	}
	read := copy(into, s.rest)
	s.rest = s.rest[read:]
	return read, nil
}

// Close ends the call, here and at the provider, unless it has ended.
func (s *Speech) Close() error {
	s.cancel()
	return nil
}

func (s *Speech) next() {
	told, err := s.stream.Recv()
	switch {
	case errors.Is(err, io.EOF) && s.usage == nil:
		s.err = unfinished()
	case err != nil:
		s.err = err
	case told.GetUsage() != nil:
		s.usage = told.GetUsage()
	case told.GetReceipt() != nil:
		s.receipt = told.GetReceipt()
	default:
		s.rest = append(told.GetAudio(), told.GetNative()...)
	}
	if s.err != nil {
		s.cancel()
	}
}

// Transcription is a transcript and what it cost.
type Transcription struct {
	*v1.Transcript
	// Usage is what the call consumed.
	Usage *v1.Usage
	// Receipt is the audit log's promise; nil where it was not asked for.
	Receipt *v1.Receipt
}

// Transcribe writes down what a recording says, or its translation into English: ToEnglish of the head.
func (a *Audio) Transcribe(ctx context.Context, head *v1.TranscriptionHead, recording Upload) (*Transcription, error) {
	heard := &Transcription{}
	send := func(send func(*v1.CreateTranscriptionRequest) error) error {
		asked := &v1.CreateTranscriptionRequest{Part: &v1.CreateTranscriptionRequest_Head{Head: head}}
		if err := send(asked); err != nil {
			return err
		}
		begin := &v1.CreateTranscriptionRequest_File{File: recording.begin("file")}
		if err := send(&v1.CreateTranscriptionRequest{Part: begin}); err != nil {
			return err
		}
		return recording.send(func(data []byte) error {
			return send(&v1.CreateTranscriptionRequest{Part: &v1.CreateTranscriptionRequest_Data{Data: data}})
		})
	}
	take := func(told *v1.CreateTranscriptionResponse) {
		if told.GetTranscript() != nil {
			heard.Transcript = told.GetTranscript()
		}
		if told.GetUsage() != nil {
			heard.Usage = told.GetUsage()
		}
		if told.GetReceipt() != nil {
			heard.Receipt = told.GetReceipt()
		}
	}
	if err := uploaded(ctx, a.rpc.CreateTranscription, send, take); err != nil {
		return nil, err
	}
	if heard.Transcript == nil {
		return nil, unfinished()
	}
	return heard, nil
}

// Images makes images of words, and of other images.
type Images struct {
	rpc v1.ImageServiceClient
}

// Generate makes images of words.
func (i *Images) Generate(ctx context.Context, request *v1.GenerateImageRequest) (*v1.GenerateImageResponse, error) {
	return i.rpc.GenerateImage(ctx, request)
}

// EditedImages are images that were made of others.
type EditedImages struct {
	// Images are those that are done; sketches of them are left out.
	Images []*v1.GeneratedImage
	// Usage is what the call consumed.
	Usage *v1.Usage
	// Receipt is the audit log's promise; nil where it was not asked for.
	Receipt *v1.Receipt
}

// Edit makes images of images, and where there is a mask only within it; nil: there is none.
func (i *Images) Edit(ctx context.Context, head *v1.EditImageHead, images []Upload, mask *Upload) (*EditedImages, error) {
	edited := &EditedImages{}
	send := func(send func(*v1.EditImageRequest) error) error {
		if err := send(&v1.EditImageRequest{Part: &v1.EditImageRequest_Head{Head: counted(head, images, mask)}}); err != nil {
			return err
		}
		for _, image := range images {
			if err := sendImage("image[]", image, send); err != nil {
				return err
			}
		}
		if mask == nil {
			return nil
		}
		return sendImage("mask", *mask, send)
	}
	take := func(told *v1.EditImageResponse) {
		if drawn := told.GetImage(); drawn != nil && drawn.PartialIndex == nil {
			edited.Images = append(edited.Images, drawn.GetImage())
		}
		if told.GetUsage() != nil {
			edited.Usage = told.GetUsage()
		}
		if told.GetReceipt() != nil {
			edited.Receipt = told.GetReceipt()
		}
	}
	if err := uploaded(ctx, i.rpc.EditImage, send, take); err != nil {
		return nil, err
	}
	if len(edited.Images) == 0 {
		return nil, unfinished()
	}
	return edited, nil
}

// The head with the number of images, so that money is held for no more.
func counted(head *v1.EditImageHead, images []Upload, mask *Upload) *v1.EditImageHead {
	head = proto.CloneOf(head)
	if head.Images == nil {
		count := int64(len(images))
		if mask != nil {
			count++
		}
		head.Images = &count
	}
	return head
}

func sendImage(field string, image Upload, send func(*v1.EditImageRequest) error) error {
	begin := &v1.EditImageRequest_File{File: image.begin(field)}
	if err := send(&v1.EditImageRequest{Part: begin}); err != nil {
		return err
	}
	return image.send(func(data []byte) error {
		return send(&v1.EditImageRequest{Part: &v1.EditImageRequest_Data{Data: data}})
	})
}
