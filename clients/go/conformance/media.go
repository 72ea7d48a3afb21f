package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tollgate.dev/clients/go/tollgate"
	v1 "tollgate.dev/clients/go/tollgate/v1"
)

func (s sent) upload() tollgate.Upload {
	content := strings.NewReader(strings.Repeat(s.Text, max(s.Times, 1)))
	return tollgate.Upload{Content: content, Filename: s.Filename, MediaType: s.ContentType}
}

func speak(ctx context.Context, client *tollgate.Client, asked call) *saw {
	request, err := parsed[v1.CreateSpeechRequest](asked.Request)
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	speech, err := client.Audio.Speak(ctx, request)
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	if asked.CancelAfterEvents > 0 {
		piece := make([]byte, 1024)
		for range asked.CancelAfterEvents {
			if _, err := speech.Read(piece); err != nil {
				return &saw{Error: failureOf(err)}
			}
		}
		seen := &saw{Cancelled: true, CancelledAtMs: time.Now().UnixMilli()}
		_ = speech.Close()
		time.Sleep(time.Duration(asked.LingerMs) * time.Millisecond)
		return seen
	}
	seen := written(speech)
	seen.ContentType = speech.ContentType()
	seen.consumed(speech.Usage())
	seen.promised(speech.Receipt())
	return seen
}

// What a file holds that was written with all that comes.
func written(from io.ReadCloser) *saw {
	defer func() { _ = from.Close() }()
	directory, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	defer func() { _ = os.RemoveAll(directory) }()
	file, err := os.Create(filepath.Join(directory, "written"))
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	_, failed := io.Copy(file, from)
	if err := file.Close(); err != nil {
		return &saw{Error: failureOf(err)}
	}
	holds, err := os.ReadFile(file.Name())
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	seen := &saw{File: new(string(holds))}
	if failed != nil {
		seen.Error = failureOf(failed)
	}
	return seen
}

func fileContent(ctx context.Context, client *tollgate.Client, asked call) *saw {
	request, err := parsed[v1.GetFileContentRequest](asked.Request)
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	content, err := client.Files.Content(ctx, request.GetId())
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	return written(content)
}

func transcribe(ctx context.Context, client *tollgate.Client, asked call) *saw {
	head, err := parsed[v1.TranscriptionHead](asked.Request)
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	heard, err := client.Audio.Transcribe(ctx, head, asked.Uploads[0].upload())
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	seen := &saw{Answer: asJSON(heard.Transcript)}
	seen.consumed(heard.Usage)
	seen.promised(heard.Receipt)
	return seen
}

func editImage(ctx context.Context, client *tollgate.Client, asked call) *saw {
	head, err := parsed[v1.EditImageHead](asked.Request)
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	var images []tollgate.Upload
	var mask *tollgate.Upload
	for _, file := range asked.Uploads {
		if file.Field == "mask" {
			mask = new(file.upload())
		} else {
			images = append(images, file.upload())
		}
	}
	edited, err := client.Images.Edit(ctx, head, images, mask)
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	var made [][]byte
	for _, image := range edited.Images {
		made = append(made, asJSON(image))
	}
	seen := &saw{Answer: json.RawMessage(`{"images": [` + string(bytes.Join(made, []byte(","))) + `]}`)}
	seen.consumed(edited.Usage)
	seen.promised(edited.Receipt)
	return seen
}

func uploadFile(ctx context.Context, client *tollgate.Client, asked call) *saw {
	header, err := parsed[v1.FileHeader](asked.Request)
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	file, err := client.Files.Upload(ctx, header, asked.Uploads[0].upload())
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	return &saw{Answer: asJSON(file)}
}

func awaitBatch(ctx context.Context, client *tollgate.Client, asked call) *saw {
	request, err := parsed[v1.GetBatchRequest](asked.Request)
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	batch, err := client.Batches.Wait(ctx, request.GetId(), time.Duration(asked.EveryMs)*time.Millisecond)
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	return &saw{Answer: asJSON(batch)}
}
