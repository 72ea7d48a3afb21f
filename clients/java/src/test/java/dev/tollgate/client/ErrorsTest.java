package dev.tollgate.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RequestInfo;
import com.google.rpc.RetryInfo;
import dev.tollgate.client.errors.BudgetExceededException;
import dev.tollgate.client.errors.CancelledException;
import dev.tollgate.client.errors.InvalidRequestException;
import dev.tollgate.client.errors.TollgateException;
import dev.tollgate.client.errors.UnavailableException;
import dev.tollgate.v1.PartialUsage;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.Test;

class ErrorsTest {
  private static RuntimeException status(Status.Code code, com.google.protobuf.Message... details) {
    var status = com.google.rpc.Status.newBuilder().setCode(code.value()).setMessage("no");
    for (com.google.protobuf.Message detail : details) {
      status.addDetails(detail instanceof Any any ? any : Any.pack(detail));
    }
    return StatusProto.toStatusRuntimeException(status.build());
  }

  @Test
  void aSpentBudgetTellsItsFigures() {
    TollgateException error =
        TollgateException.of(
            FakeGateway.refusal(
                Status.Code.RESOURCE_EXHAUSTED,
                "BUDGET_EXHAUSTED",
                Map.of(
                    "scope", "team:team_1",
                    "limitNanoUsd", "5000000000",
                    "spentNanoUsd", "not a number",
                    "resetTime", "2026-12-01T00:00:00Z")));

    BudgetExceededException spent = assertInstanceOf(BudgetExceededException.class, error);
    assertEquals("team:team_1", spent.scope());
    assertEquals(5_000_000_000L, spent.limitNanoUsd());
    assertNull(spent.spentNanoUsd());
    assertNull(spent.heldNanoUsd());
    assertEquals(Instant.parse("2026-12-01T00:00:00Z"), spent.resetsAt());
    assertEquals("BUDGET_EXHAUSTED: refused", spent.getMessage());
  }

  @Test
  void everyDetailIsRead() {
    BadRequest bad =
        BadRequest.newBuilder()
            .addFieldViolations(BadRequest.FieldViolation.newBuilder().setField("a"))
            .addFieldViolations(BadRequest.FieldViolation.newBuilder().setField("b"))
            .build();
    TollgateException error =
        TollgateException.of(
            status(
                Status.Code.INVALID_ARGUMENT,
                ErrorInfo.newBuilder().setDomain("tollgate.dev").setReason("INVALID_FIELD").build(),
                RequestInfo.newBuilder().setRequestId("call-1").build(),
                RetryInfo.newBuilder()
                    .setRetryDelay(
                        com.google.protobuf.Duration.newBuilder()
                            .setSeconds(1)
                            .setNanos(500_000_000))
                    .build(),
                bad,
                PartialUsage.newBuilder().setCallId("call-1").build()));

    InvalidRequestException invalid = assertInstanceOf(InvalidRequestException.class, error);
    assertEquals("a", invalid.field());
    assertEquals(2, invalid.violations().size());
    assertEquals("call-1", error.requestId());
    assertEquals(Duration.ofMillis(1500), error.retryAfter());
    assertEquals(PartialUsage.newBuilder().setCallId("call-1").build(), error.partialUsage());
  }

  @Test
  void anotherServicesReasonIsNotOurs() {
    TollgateException error =
        TollgateException.of(
            status(
                Status.Code.UNAVAILABLE,
                ErrorInfo.newBuilder().setDomain("example.org").setReason("INTERNAL").build()));

    assertInstanceOf(UnavailableException.class, error);
    assertEquals("", error.reason());
  }

  @Test
  void aReasonOfTomorrowIsTheBaseClass() {
    TollgateException error =
        TollgateException.of(FakeGateway.refusal(Status.Code.ABORTED, "OF_TOMORROW", Map.of()));

    assertSame(TollgateException.class, error.getClass());
    assertEquals("OF_TOMORROW", error.reason());
    assertEquals(Status.Code.ABORTED, error.code());
  }

  @Test
  void brokenDetailsLeaveTheStatus() {
    Any broken =
        Any.newBuilder()
            .setTypeUrl("type.googleapis.com/google.rpc.ErrorInfo")
            .setValue(ByteString.copyFromUtf8("\0nonsense"))
            .build();
    Metadata trailers = new Metadata();
    trailers.put(
        Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER),
        new byte[] {-1, -1});

    assertInstanceOf(
        UnavailableException.class, TollgateException.of(status(Status.Code.UNAVAILABLE, broken)));
    assertInstanceOf(
        CancelledException.class,
        TollgateException.of(Status.CANCELLED.asRuntimeException(trailers)));
  }

  @Test
  void itIsFoundBehindAFuture() {
    TollgateException error = TollgateException.of(Status.CANCELLED.asRuntimeException());

    assertSame(error, TollgateException.of(new CompletionException(error)));
  }
}
