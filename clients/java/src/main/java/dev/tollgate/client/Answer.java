package dev.tollgate.client;

import dev.tollgate.v1.Choice;
import dev.tollgate.v1.Completion;
import dev.tollgate.v1.FinishReason;
import dev.tollgate.v1.Message;
import dev.tollgate.v1.Part;
import dev.tollgate.v1.Usage;
import java.util.List;
import java.util.stream.Collectors;

/**
 * A whole answer. The helpers speak of its first choice, which is the only one unless {@code n}
 * asks for more.
 *
 * @param completion all of it, as the contract says
 */
public record Answer(Completion completion) {
  /**
   * The text, of all its parts.
   *
   * @return it; empty where the model only called tools
   */
  public String text() {
    return message().getPartsList().stream()
        .filter(Part::hasText)
        .map(part -> part.getText().getText())
        .collect(Collectors.joining());
  }

  /**
   * The tools that the model asks for.
   *
   * @return them in order, or an empty list
   */
  public List<ToolCall> toolCalls() {
    return message().getPartsList().stream()
        .filter(Part::hasToolCall)
        .map(Part::getToolCall)
        .map(call -> new ToolCall(call.getId(), call.getName(), call.getArgumentsJson()))
        .toList();
  }

  /**
   * The model's turn, to be added to the conversation as it is: its reasoning and its calls must go
   * back untouched.
   *
   * @return the message
   */
  public Message message() {
    return first().getMessage();
  }

  /**
   * Why it ended.
   *
   * @return the reason
   */
  public FinishReason finishReason() {
    return first().getFinished().getReason();
  }

  /**
   * What it consumed and cost.
   *
   * @return tokens, and nano-dollars
   */
  public Usage usage() {
    return completion.getUsage();
  }

  /**
   * Id of the call in ledger and audit log.
   *
   * @return the id
   */
  public String callId() {
    return completion.getStarted().getCallId();
  }

  private Choice first() {
    return completion.getChoicesList().stream()
        .filter(choice -> choice.getIndex() == 0)
        .findFirst()
        .orElse(Choice.getDefaultInstance());
  }
}
