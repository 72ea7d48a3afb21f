package dev.tollgate.client;

import dev.tollgate.v1.AuditRecord;
import dev.tollgate.v1.AuditServiceGrpc;
import dev.tollgate.v1.QueryRecordsRequest;
import dev.tollgate.v1.QueryRecordsResponse;
import dev.tollgate.v1.TailRecordsRequest;
import dev.tollgate.v1.TailRecordsResponse;

/** The audit log: one record for each call and each act of an admin. */
public final class Audit {
  private final Calls calls;

  Audit(Calls calls) {
    this.calls = calls;
  }

  /**
   * Records that match, oldest first. Close it when it was not read to its end.
   *
   * @param request which
   * @param options where it differs from the client's defaults
   * @return them, as they come
   */
  public Events<AuditRecord> query(QueryRecordsRequest request, Options options) {
    return calls.stream(
        AuditServiceGrpc.getQueryRecordsMethod(),
        request,
        options,
        QueryRecordsResponse::getRecord);
  }

  /**
   * Records as they are made. It ends only when it is closed, or when its reader is too slow.
   *
   * @param request which, and from where on
   * @param options where it differs from the client's defaults
   * @return them, as they come
   */
  public Events<AuditRecord> tail(TailRecordsRequest request, Options options) {
    return calls.watch(
        AuditServiceGrpc.getTailRecordsMethod(), request, options, TailRecordsResponse::getRecord);
  }
}
