package dev.tollgate.client.errors;

import static java.util.Map.entry;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RequestInfo;
import com.google.rpc.RetryInfo;
import dev.tollgate.v1.PartialUsage;
import dev.tollgate.v1.Receipt;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** From a gRPC status to the error of its reason: the one table. */
final class Statuses {
  private static final String DOMAIN = "tollgate.dev";

  private static final Map<String, Function<ErrorDetails, TollgateException>> BY_REASON =
      Map.ofEntries(
          entry("API_KEY_MISSING", UnauthenticatedException::new),
          entry("API_KEY_INVALID", UnauthenticatedException::new),
          entry("API_KEY_EXPIRED", UnauthenticatedException::new),
          entry("API_KEY_REVOKED", UnauthenticatedException::new),
          entry("API_KEY_BLOCKED", PermissionDeniedException::new),
          entry("ROLE_NOT_ALLOWED", PermissionDeniedException::new),
          entry("RIGHTS_EXCEEDED", PermissionDeniedException::new),
          entry("MODEL_NOT_ALLOWED", ModelNotAllowedException::new),
          entry("MODEL_NOT_FOUND", ModelNotFoundException::new),
          entry("RESOURCE_NOT_FOUND", ResourceNotFoundException::new),
          entry("INVALID_FIELD", InvalidRequestException::new),
          entry("UNSUPPORTED_FIELD", UnsupportedFieldException::new),
          entry("CONTEXT_WINDOW_EXCEEDED", ContextWindowExceededException::new),
          entry("REQUEST_TOO_LARGE", RequestTooLargeException::new),
          entry("CONTENT_BLOCKED", ContentBlockedException::new),
          entry("ETAG_MISMATCH", EtagMismatchException::new),
          entry("ALREADY_EXISTS", AlreadyExistsException::new),
          entry("BUDGET_EXHAUSTED", BudgetExceededException::new),
          entry("BUDGET_HELD", BudgetHeldException::new),
          entry("CALL_COST_CEILING", CallCostCeilingException::new),
          entry("PRICE_UNKNOWN", PriceUnknownException::new),
          entry("IDEMPOTENCY_MISMATCH", IdempotencyMismatchException::new),
          entry("IDEMPOTENCY_REPLAY_UNAVAILABLE", IdempotencyReplayUnavailableException::new),
          entry("PROVIDER_RATE_LIMITED", ProviderRateLimitedException::new),
          entry("PROVIDER_QUOTA_EXCEEDED", ProviderQuotaExceededException::new),
          entry("PROVIDER_OVERLOADED", ProviderOverloadedException::new),
          entry("PROVIDER_FAILED", ProviderFailedException::new),
          entry("PROVIDER_TIMEOUT", ProviderTimeoutException::new),
          entry("PROVIDER_CREDENTIAL", ProviderCredentialException::new),
          entry("PROVIDER_MODEL_UNAVAILABLE", ProviderModelUnavailableException::new),
          entry("PROVIDER_PROTOCOL", ProviderProtocolException::new),
          entry("PROVIDER_REFUSED_REQUEST", ProviderRefusedRequestException::new),
          entry("STREAM_TRUNCATED", StreamTruncatedException::new),
          entry("DEADLINE_EXCEEDED", DeadlineExceededException::new),
          entry("OVERLOADED", OverloadedException::new),
          entry("LEDGER_UNAVAILABLE", LedgerUnavailableException::new),
          entry("STORE_UNAVAILABLE", StoreUnavailableException::new),
          entry("INTERNAL", InternalException::new),
          entry("CANCELLED", CancelledException::new),
          entry("ROUTE_NOT_FOUND", RouteNotFoundException::new),
          entry("RATE_LIMITED", RateLimitedException::new),
          entry("RESOURCE_IN_USE", ResourceInUseException::new),
          entry("NO_ROUTE", NoRouteException::new));

  private Statuses() {}

  static TollgateException exception(Throwable failure) {
    for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
      if (cause instanceof TollgateException known) {
        return known;
      }
      if (cause instanceof StatusRuntimeException status) {
        return exception(status.getStatus(), status.getTrailers(), failure);
      }
      if (cause instanceof StatusException status) {
        return exception(status.getStatus(), status.getTrailers(), failure);
      }
      if (!(cause instanceof CompletionException || cause instanceof ExecutionException)) {
        break;
      }
    }
    return exception(Status.fromThrowable(failure), null, failure);
  }

  private static TollgateException exception(
      Status status, @Nullable Metadata trailers, Throwable cause) {
    ErrorDetails details = details(status, trailers);
    TollgateException exception =
        details.reason().isEmpty()
            ? byCode(details)
            : BY_REASON.getOrDefault(details.reason(), TollgateException::new).apply(details);
    exception.initCause(cause);
    return exception;
  }

  /** Statuses that gRPC made itself, and those of proxies in between. */
  private static TollgateException byCode(ErrorDetails details) {
    return switch (details.code()) {
      case DEADLINE_EXCEEDED -> new DeadlineExceededException(details);
      case CANCELLED -> new CancelledException(details);
      case UNAVAILABLE -> new UnavailableException(details);
      case UNAUTHENTICATED -> new UnauthenticatedException(details);
      case PERMISSION_DENIED -> new PermissionDeniedException(details);
      case INVALID_ARGUMENT -> new InvalidRequestException(details);
      case RESOURCE_EXHAUSTED -> new RequestTooLargeException(details);
      case UNIMPLEMENTED -> new RouteNotFoundException(details);
      case INTERNAL -> new InternalException(details);
      default -> new TollgateException(details);
    };
  }

  private static ErrorDetails details(Status status, @Nullable Metadata trailers) {
    String message = status.getDescription() == null ? "" : status.getDescription();
    String reason = "";
    String requestId = "";
    Map<String, String> metadata = Map.of();
    Duration retryAfter = null;
    List<FieldViolation> violations = new ArrayList<>();
    PartialUsage partialUsage = null;
    Receipt receipt = null;
    for (Any detail : details(trailers)) {
      try {
        if (detail.is(ErrorInfo.class)) {
          ErrorInfo info = detail.unpack(ErrorInfo.class);
          if (info.getDomain().equals(DOMAIN)) {
            reason = info.getReason();
            metadata = info.getMetadataMap();
          }
        } else if (detail.is(RequestInfo.class)) {
          requestId = detail.unpack(RequestInfo.class).getRequestId();
        } else if (detail.is(RetryInfo.class)) {
          com.google.protobuf.Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
          retryAfter = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
        } else if (detail.is(BadRequest.class)) {
          for (BadRequest.FieldViolation v :
              detail.unpack(BadRequest.class).getFieldViolationsList()) {
            violations.add(new FieldViolation(v.getField(), v.getDescription()));
          }
        } else if (detail.is(PartialUsage.class)) {
          partialUsage = detail.unpack(PartialUsage.class);
        } else if (detail.is(Receipt.class)) {
          receipt = detail.unpack(Receipt.class);
        }
      } catch (InvalidProtocolBufferException unreadable) {
        // The status stands without the detail that somebody between here and the gateway broke.
      }
    }
    return new ErrorDetails(
        status.getCode(),
        reason,
        message,
        metadata,
        requestId,
        retryAfter,
        violations,
        partialUsage,
        receipt);
  }

  private static List<Any> details(@Nullable Metadata trailers) {
    if (trailers == null) {
      return List.of();
    }
    try {
      com.google.rpc.Status rich = trailers.get(RICH);
      return rich == null ? List.of() : rich.getDetailsList();
    } catch (IllegalArgumentException unreadable) {
      return List.of();
    }
  }

  private static final Metadata.Key<com.google.rpc.Status> RICH =
      Metadata.Key.of(
          "grpc-status-details-bin",
          io.grpc.protobuf.ProtoUtils.metadataMarshaller(
              com.google.rpc.Status.getDefaultInstance()));
}
