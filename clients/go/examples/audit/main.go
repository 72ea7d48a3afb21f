// Follows the audit log: first the records that there are, then new ones as they are made, until Ctrl-C.
//
//	TOLLGATE_API_KEY=$(cat tollgate-data/admin.key) go run ./examples/audit
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"

	"tollgate.dev/clients/go/tollgate"
	v1 "tollgate.dev/clients/go/tollgate/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	client, err := tollgate.New()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()

	var seen int64
	for {
		for record, err := range client.Audit.Tail(ctx, &v1.TailRecordsRequest{AfterSequence: &seen}) {
			var behind *tollgate.Overloaded
			if errors.As(err, &behind) {
				break // the log is ahead: go on from where it was read to
			}
			if err != nil {
				return err
			}
			seen = record.GetSequence()
			fmt.Println(seen, record.GetTime().AsTime().Format("15:04:05.000"), record.GetAction(), record.GetKeyId(), record.GetErrorReason())
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
