package dev.tollgate.client;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import dev.tollgate.v1.Choice;
import dev.tollgate.v1.Completion;
import dev.tollgate.v1.CompletionEvent;
import dev.tollgate.v1.Delta;
import dev.tollgate.v1.Message;
import dev.tollgate.v1.Part;
import dev.tollgate.v1.Role;
import dev.tollgate.v1.ToolCallStart;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** A whole answer is its stream, collected: the same fold as the gateway's own. */
final class Collector {
  /** More parts than any answer has. */
  private static final int MAX_PARTS = 10_000;

  private final Completion.Builder completion = Completion.newBuilder();
  private final Map<Integer, Growing> choices = new TreeMap<>();

  void take(CompletionEvent event) {
    if (event.hasNative() && !completion.hasNative()) {
      completion.setNative(event.getNative());
    }
    switch (event.getEventCase()) {
      case RESTARTED -> {
        // What came so far is void; where the answer goes on instead, it does so in the same parts.
        if (event.getRestarted().hasDiscardFromSeq()) {
          choices.clear();
          completion.clearNative();
        }
      }
      case STARTED -> completion.setStarted(event.getStarted());
      case DELTA -> delta(event.getDelta());
      case FINISHED ->
          choice(event.getFinished().getChoice()).choice.setFinished(event.getFinished());
      case USAGE -> completion.setUsage(event.getUsage());
      case ROUTING -> completion.setRouting(event.getRouting());
      case RECEIPT -> completion.setReceipt(event.getReceipt());
      case PART_DONE, EVENT_NOT_SET -> {}
    }
  }

  Completion completion() {
    Completion.Builder whole = completion.clone();
    choices.values().forEach(choice -> whole.addChoices(choice.whole()));
    return whole.build();
  }

  private Growing choice(int index) {
    return choices.computeIfAbsent(index, Growing::new);
  }

  private void delta(Delta delta) {
    Growing growing = choice(delta.getChoice());
    if (!delta.getLogprobsJson().isEmpty()) {
      Choice.Builder choice = growing.choice;
      choice.setLogprobsJson(joined(choice.getLogprobsJson(), delta.getLogprobsJson()));
    }
    int index = delta.getPart();
    if (delta.getPieceCase() == Delta.PieceCase.PIECE_NOT_SET || index < 0 || index >= MAX_PARTS) {
      return;
    }
    // A part that said nothing left no delta behind.
    while (growing.parts.size() <= index) {
      growing.parts.add(Part.newBuilder());
      growing.texts.add(new StringBuilder());
    }
    Part.Builder part = growing.parts.get(index);
    grow(part, growing.texts.get(index), delta);
    if (part.hasReasoning() && !delta.getReasoningFormat().isEmpty()) {
      part.getReasoningBuilder().setFormat(delta.getReasoningFormat());
    }
  }

  /** A choice, with the texts of its parts apart. */
  private static final class Growing {
    private final Choice.Builder choice;
    private final List<Part.Builder> parts = new ArrayList<>();
    private final List<StringBuilder> texts = new ArrayList<>();

    Growing(int index) {
      choice = Choice.newBuilder().setIndex(index);
    }

    Choice whole() {
      Choice.Builder whole = choice.clone();
      Message.Builder message = whole.getMessageBuilder().setRole(Role.ROLE_ASSISTANT);
      for (int i = 0; i < parts.size(); i++) {
        if (parts.get(i).getContentCase() != Part.ContentCase.CONTENT_NOT_SET) {
          message.addParts(Collector.whole(parts.get(i), texts.get(i)));
        }
      }
      return whole.build();
    }
  }

  /** Texts grow in builders: a long answer comes in very many pieces. */
  private static void grow(Part.Builder part, StringBuilder text, Delta delta) {
    boolean fresh = part.getContentCase() == Part.ContentCase.CONTENT_NOT_SET;
    switch (delta.getPieceCase()) {
      case TEXT -> {
        if (fresh || part.hasText()) {
          part.getTextBuilder();
          text.append(delta.getText());
        }
      }
      case REASONING -> {
        if (fresh || part.hasReasoning()) {
          part.getReasoningBuilder();
          text.append(delta.getReasoning());
        }
      }
      case REASONING_SIGNATURE -> {
        if (fresh || part.hasReasoning()) {
          part.getReasoningBuilder().setSignature(delta.getReasoningSignature());
        }
      }
      case REASONING_REDACTED -> {
        if (fresh) {
          part.getReasoningBuilder().setRedacted(delta.getReasoningRedacted());
        }
      }
      case REFUSAL -> {
        if (fresh || part.hasRefusal()) {
          part.getRefusalBuilder();
          text.append(delta.getRefusal());
        }
      }
      case TOOL_CALL_START -> {
        if (fresh) {
          ToolCallStart start = delta.getToolCallStart();
          part.getToolCallBuilder()
              .setId(start.getId())
              .setName(start.getName())
              .setTypeNative(start.getTypeNative());
        }
      }
      case TOOL_ARGUMENTS -> {
        if (fresh || part.hasToolCall()) {
          part.getToolCallBuilder();
          text.append(delta.getToolArguments());
        }
      }
      case OPAQUE_JSON -> {
        if (fresh) {
          part.getOpaqueBuilder().setJson(delta.getOpaqueJson());
        }
      }
      case PIECE_NOT_SET -> {}
    }
  }

  private static Part whole(Part.Builder growing, StringBuilder text) {
    Part.Builder part = growing.clone();
    switch (part.getContentCase()) {
      case TEXT -> part.getTextBuilder().setText(text.toString());
      case REASONING -> part.getReasoningBuilder().setText(text.toString());
      case REFUSAL -> part.getRefusalBuilder().setText(text.toString());
      case TOOL_CALL -> part.getToolCallBuilder().setArgumentsJson(text.toString());
      default -> {}
    }
    return part.build();
  }

  /** Joins two objects of arrays ({@code {"content": [...]}}) member by member. */
  private static String joined(String before, String more) {
    if (before.isEmpty()) {
      return more;
    }
    try {
      JsonObject all = JsonParser.parseString(before).getAsJsonObject();
      for (Map.Entry<String, JsonElement> list :
          JsonParser.parseString(more).getAsJsonObject().entrySet()) {
        if (list.getValue() instanceof JsonArray items) {
          if (!(all.get(list.getKey()) instanceof JsonArray)) {
            all.add(list.getKey(), new JsonArray());
          }
          all.getAsJsonArray(list.getKey()).addAll(items);
        } else if (!all.has(list.getKey())) {
          all.add(list.getKey(), list.getValue());
        }
      }
      return all.toString();
    } catch (JsonParseException | IllegalStateException unreadable) {
      return before;
    }
  }
}
