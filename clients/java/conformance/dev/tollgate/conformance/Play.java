package dev.tollgate.conformance;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.util.JsonFormat;
import dev.tollgate.client.Answer;
import dev.tollgate.client.Client;
import dev.tollgate.client.CompletionStream;
import dev.tollgate.client.Events;
import dev.tollgate.client.Options;
import dev.tollgate.client.ToolCall;
import dev.tollgate.client.errors.TollgateException;
import dev.tollgate.v1.*;
import java.time.Duration;
import java.util.Iterator;
import java.util.Locale;

/** One call of one case. */
final class Play {
  private final Client client;
  private final JsonObject call;
  private final JsonObject saw = new JsonObject();
  private final Options options;

  Play(Client client, JsonObject call) {
    this.client = client;
    this.call = call;
    Options asked = Options.defaults();
    if (call.has("deadline_ms")) {
      asked = asked.withTimeout(Duration.ofMillis(call.get("deadline_ms").getAsLong()));
    }
    if (call.has("traceparent")) {
      asked = asked.withTraceparent(call.get("traceparent").getAsString());
    }
    this.options = asked;
  }

  JsonObject saw() {
    int times = call.has("times") ? call.get("times").getAsInt() : 1;
    JsonArray answers = new JsonArray();
    try {
      for (int i = 0; i < times; i++) {
        call();
        if (saw.has("answer")) {
          answers.add(saw.get("answer").deepCopy());
        }
      }
    } catch (TollgateException error) {
      saw.add("error", Errors.json(error));
    }
    if (times > 1) {
      saw.add("answers", answers);
    }
    return saw;
  }

  private void call() {
    switch (call.get("do").getAsString()) {
      case "complete" ->
          answered(client.complete(request(CompletionRequest.getDefaultInstance()), options));
      case "stream" -> stream(request(CompletionRequest.getDefaultInstance()));
      case "count_tokens" ->
          answer(client.countTokens(request(CompletionRequest.getDefaultInstance()), options));
      case "embed" ->
          answer(
              client
                  .embeddings()
                  .create(request(CreateEmbeddingRequest.getDefaultInstance()), options));
      case "get_model" ->
          answer(client.models().get(request(GetModelRequest.getDefaultInstance()), options));
      case "list_models" ->
          items(client.models().list(request(ListModelsRequest.getDefaultInstance()), options));
      case "create_key" ->
          answer(client.keys().create(request(CreateKeyRequest.getDefaultInstance()), options));
      case "rotate_key" ->
          answer(client.keys().rotate(request(RotateKeyRequest.getDefaultInstance()), options));
      case "get_key" ->
          answer(client.keys().get(request(GetKeyRequest.getDefaultInstance()), options));
      case "update_key" ->
          answer(client.keys().update(request(UpdateKeyRequest.getDefaultInstance()), options));
      case "block_key" ->
          answer(client.keys().block(request(BlockKeyRequest.getDefaultInstance()), options));
      case "unblock_key" ->
          answer(client.keys().unblock(request(UnblockKeyRequest.getDefaultInstance()), options));
      case "revoke_key" ->
          answer(client.keys().revoke(request(RevokeKeyRequest.getDefaultInstance()), options));
      case "list_keys" ->
          items(client.keys().list(request(ListKeysRequest.getDefaultInstance()), options));
      case "create_team" ->
          answer(client.teams().create(request(CreateTeamRequest.getDefaultInstance()), options));
      case "get_team" ->
          answer(client.teams().get(request(GetTeamRequest.getDefaultInstance()), options));
      case "update_team" ->
          answer(client.teams().update(request(UpdateTeamRequest.getDefaultInstance()), options));
      case "list_teams" ->
          items(client.teams().list(request(ListTeamsRequest.getDefaultInstance()), options));
      case "delete_team" -> {
        client.teams().delete(request(DeleteTeamRequest.getDefaultInstance()), options);
        saw.add("answer", new JsonObject());
      }
      case "create_user" ->
          answer(client.users().create(request(CreateUserRequest.getDefaultInstance()), options));
      case "list_users" ->
          items(client.users().list(request(ListUsersRequest.getDefaultInstance()), options));
      case "create_organization" ->
          answer(
              client
                  .organizations()
                  .create(request(CreateOrganizationRequest.getDefaultInstance()), options));
      case "list_organizations" ->
          items(
              client
                  .organizations()
                  .list(request(ListOrganizationsRequest.getDefaultInstance()), options));
      case "create_budget" ->
          answer(
              client.budgets().create(request(CreateBudgetRequest.getDefaultInstance()), options));
      case "get_budget" ->
          answer(client.budgets().get(request(GetBudgetRequest.getDefaultInstance()), options));
      case "update_budget" ->
          answer(
              client.budgets().update(request(UpdateBudgetRequest.getDefaultInstance()), options));
      case "increase_budget" ->
          answer(
              client
                  .budgets()
                  .increase(request(IncreaseBudgetRequest.getDefaultInstance()), options));
      case "list_budgets" ->
          items(client.budgets().list(request(ListBudgetsRequest.getDefaultInstance()), options));
      case "delete_budget" -> {
        client.budgets().delete(request(DeleteBudgetRequest.getDefaultInstance()), options);
        saw.add("answer", new JsonObject());
      }
      case "get_spend" ->
          answer(client.spend().get(request(GetSpendRequest.getDefaultInstance()), options));
      case "list_ledger" ->
          items(
              client
                  .spend()
                  .ledger(request(ListLedgerEntriesRequest.getDefaultInstance()), options));
      case "query_audit" -> {
        try (var records =
            client.audit().query(request(QueryRecordsRequest.getDefaultInstance()), options)) {
          items(records);
        }
      }
      case "tail_audit" -> tail(request(TailRecordsRequest.getDefaultInstance()));
      case "get_file" ->
          answer(client.files().get(request(GetFileRequest.getDefaultInstance()), options));
      case "list_files" ->
          items(client.files().list(request(ListFilesRequest.getDefaultInstance()), options));
      case "delete_file" -> {
        client.files().delete(request(DeleteFileRequest.getDefaultInstance()), options);
        saw.add("answer", new JsonObject());
      }
      case "create_batch" ->
          answer(
              client.batches().create(request(CreateBatchRequest.getDefaultInstance()), options));
      case "cancel_batch" ->
          answer(
              client.batches().cancel(request(CancelBatchRequest.getDefaultInstance()), options));
      case "list_batches" ->
          items(client.batches().list(request(ListBatchesRequest.getDefaultInstance()), options));
      case "generate_image" ->
          answer(
              client
                  .images()
                  .generate(request(GenerateImageRequest.getDefaultInstance()), options));
      default -> new PlayMedia(client, call, saw, options, this).call();
    }
  }

  private void stream(CompletionRequest request) {
    JsonArray kinds = new JsonArray();
    saw.add("events", kinds);
    StringBuilder text = new StringBuilder();
    int received = 0;
    String last = "";
    try (CompletionStream events = client.stream(request, options)) {
      for (CompletionEvent event : events) {
        received++;
        String kind = kind(event);
        if (!kind.isEmpty() && !kind.equals(last)) {
          kinds.add(kind);
          last = kind;
        }
        if (event.getDelta().getChoice() == 0) {
          text.append(event.getDelta().getText());
        }
        if (reached(received)) {
          cancelled();
          return;
        }
      }
      answered(events.answer());
    } finally {
      saw.addProperty("received", received);
      saw.addProperty("text", text.toString());
    }
  }

  private void tail(TailRecordsRequest request) {
    try (Events<AuditRecord> records = client.audit().tail(request, options)) {
      JsonArray items = new JsonArray();
      saw.add("items", items);
      while (!taken(items.size()) && records.hasNext()) {
        items.add(json(records.next()));
        if (reached(items.size())) {
          cancelled();
          return;
        }
      }
    }
  }

  private void answered(Answer answer) {
    answer(answer.completion());
    saw.addProperty("text", answer.text());
    JsonArray calls = new JsonArray();
    for (ToolCall made : answer.toolCalls()) {
      JsonObject tool = new JsonObject();
      tool.addProperty("id", made.id());
      tool.addProperty("name", made.name());
      tool.addProperty("arguments", made.argumentsJson());
      calls.add(tool);
    }
    if (!calls.isEmpty()) {
      saw.add("tool_calls", calls);
    }
    saw.addProperty("finish_reason", answer.finishReason().name().replace("FINISH_REASON_", ""));
    usage(answer.usage());
  }

  void usage(Usage told) {
    JsonObject usage = new JsonObject();
    usage.addProperty("input_tokens", told.getInput().getTotal());
    usage.addProperty("output_tokens", told.getOutput().getTotal());
    usage.addProperty("cost_nano_usd", told.getCostNanoUsd());
    usage.addProperty("estimated", told.getEstimated());
    saw.add("usage", usage);
  }

  void receipt(Receipt told) {
    if (told != null) {
      saw.add("receipt", json(told));
    }
  }

  void answer(MessageOrBuilder answer) {
    saw.add("answer", json(answer));
  }

  private void items(Iterable<? extends Message> list) {
    JsonArray items = new JsonArray();
    saw.add("items", items);
    Iterator<? extends Message> each = list.iterator();
    while (!taken(items.size()) && each.hasNext()) {
      items.add(json(each.next()));
    }
  }

  private boolean taken(int items) {
    return call.has("take") && items >= call.get("take").getAsInt();
  }

  private boolean reached(int events) {
    return call.has("cancel_after_events") && events >= call.get("cancel_after_events").getAsInt();
  }

  /** Said before the stream is closed, by leaving its block. */
  void cancelled() {
    saw.addProperty("cancelled", true);
    saw.addProperty("cancelled_at_ms", System.currentTimeMillis());
  }

  private static String kind(CompletionEvent event) {
    return switch (event.getEventCase()) {
      case DELTA ->
          event.getDelta().getPieceCase() == Delta.PieceCase.PIECE_NOT_SET
              ? ""
              : event.getDelta().getPieceCase().name().toLowerCase(Locale.ROOT);
      case EVENT_NOT_SET -> "";
      default -> event.getEventCase().name().toLowerCase(Locale.ROOT);
    };
  }

  @SuppressWarnings("unchecked") // A builder builds its own message.
  <M extends Message> M request(M empty) {
    try {
      JsonElement request = call.has("request") ? call.get("request") : new JsonObject();
      Message.Builder builder = empty.toBuilder();
      JsonFormat.parser().merge(request.toString(), builder);
      return (M) builder.build();
    } catch (InvalidProtocolBufferException e) {
      throw new IllegalArgumentException("request: " + e.getMessage(), e);
    }
  }

  static JsonElement json(MessageOrBuilder message) {
    try {
      return JsonParser.parseString(JsonFormat.printer().print(message));
    } catch (InvalidProtocolBufferException e) {
      throw new IllegalStateException(e);
    }
  }
}
