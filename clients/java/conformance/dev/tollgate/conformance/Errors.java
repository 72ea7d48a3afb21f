package dev.tollgate.conformance;

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import dev.tollgate.client.errors.*;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;

/** An error as the cases see it: its class without the language's ending, and its typed members. */
final class Errors {
  private static final Gson GSON = new Gson();

  private Errors() {}

  static JsonObject json(TollgateException error) {
    Map<String, Object> fields = fields(error);
    fields.values().removeIf(value -> value == null);
    if (error.retryAfter() != null) {
      fields.put("retry_after_ms", error.retryAfter().toMillis());
    }
    String name = error.getClass().getSimpleName().replaceAll("Exception$", "");
    JsonObject json = new JsonObject();
    json.addProperty("type", name.equals("Tollgate") ? "TollgateError" : name);
    json.addProperty("code", error.code().name());
    json.addProperty("message", error.details().message());
    if (!error.reason().isEmpty()) {
      json.addProperty("reason", error.reason());
    }
    if (!error.requestId().isEmpty()) {
      json.addProperty("request_id", error.requestId());
    }
    json.add("metadata", GSON.toJsonTree(error.metadata()));
    json.add("fields", GSON.toJsonTree(fields));
    if (error.receipt() != null) {
      json.add("receipt", Play.json(error.receipt()));
    }
    return json;
  }

  private static Map<String, Object> fields(TollgateException error) {
    Map<String, Object> fields = new LinkedHashMap<>();
    if (error instanceof ModelNotAllowedException e) {
      fields.put("model", e.model());
    } else if (error instanceof ModelNotFoundException e) {
      fields.put("model", e.model());
    } else if (error instanceof NoRouteException e) {
      fields.put("model", e.model());
    } else if (error instanceof PriceUnknownException e) {
      fields.put("model", e.model());
      fields.put("deployment", e.deployment());
    } else if (error instanceof ResourceNotFoundException e) {
      fields.put("resource", e.resource());
      fields.put("id", e.id());
    } else if (error instanceof AlreadyExistsException e) {
      fields.put("resource", e.resource());
      fields.put("id", e.id());
    } else if (error instanceof ResourceInUseException e) {
      fields.put("resource", e.resource());
      fields.put("id", e.id());
    } else if (error instanceof InvalidRequestException e) {
      fields.put("field", e.field());
      fields.put("violations", e.violations().stream().map(Errors::violation).toList());
    } else if (error instanceof UnsupportedFieldException e) {
      fields.put("field", e.field());
      fields.put("provider", e.provider());
    } else if (error instanceof RequestTooLargeException e) {
      fields.put("limit_bytes", e.limitBytes());
    } else if (error instanceof BudgetExceededException e) {
      money(fields, e.scope(), e.budgetId(), e.resetsAt());
      fields.put("limit_nano_usd", e.limitNanoUsd());
      fields.put("spent_nano_usd", e.spentNanoUsd());
      fields.put("held_nano_usd", e.heldNanoUsd());
      fields.put("needed_nano_usd", e.neededNanoUsd());
    } else if (error instanceof BudgetHeldException e) {
      money(fields, e.scope(), e.budgetId(), e.resetsAt());
      fields.put("limit_nano_usd", e.limitNanoUsd());
      fields.put("spent_nano_usd", e.spentNanoUsd());
      fields.put("held_nano_usd", e.heldNanoUsd());
      fields.put("needed_nano_usd", e.neededNanoUsd());
    } else if (error instanceof CallCostCeilingException e) {
      fields.put("max_cost_nano_usd", e.maxCostNanoUsd());
      fields.put("needed_nano_usd", e.neededNanoUsd());
    } else if (error instanceof IdempotencyMismatchException e) {
      fields.put("call_id", e.callId());
    } else if (error instanceof IdempotencyReplayUnavailableException e) {
      fields.put("call_id", e.callId());
    } else if (error instanceof ProviderException e) {
      fields.put("provider", e.provider());
      fields.put("deployment", e.deployment());
      fields.put("upstream_status", e.upstreamStatus());
    } else if (error instanceof RateLimitedException e) {
      fields.put("scope", e.scope());
      fields.put("limit", e.limit());
      fields.put("dimension", e.dimension());
    }
    return fields;
  }

  private static void money(
      Map<String, Object> fields, String scope, String budgetId, Instant resetsAt) {
    fields.put("scope", scope);
    fields.put("budget_id", budgetId);
    fields.put("resets_at", resetsAt == null ? null : resetsAt.toString());
  }

  private static Map<String, String> violation(FieldViolation violation) {
    return Map.of("field", violation.field(), "description", violation.description());
  }
}
