package tollgate

import (
	"context"
	"iter"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// Audit reads the audit log.
type Audit struct {
	rpc v1.AuditServiceClient
}

// Query yields the records that match, oldest first, up to the last one that existed when the loop began; nil: all.
func (a *Audit) Query(ctx context.Context, request *v1.QueryRecordsRequest) iter.Seq2[*v1.AuditRecord, error] {
	return streamed(ctx, copied(request), a.rpc.QueryRecords, (*v1.QueryRecordsResponse).GetRecord)
}

// Tail yields records as they are made; nil: all new ones. It ends with the loop or the context only. A reader that falls too far behind
// gets [*Overloaded] and may go on from the last sequence that it saw.
func (a *Audit) Tail(ctx context.Context, request *v1.TailRecordsRequest) iter.Seq2[*v1.AuditRecord, error] {
	return streamed(ctx, copied(request), a.rpc.TailRecords, (*v1.TailRecordsResponse).GetRecord)
}
