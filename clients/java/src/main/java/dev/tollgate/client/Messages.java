package dev.tollgate.client;

import dev.tollgate.v1.FunctionTool;
import dev.tollgate.v1.Message;
import dev.tollgate.v1.Part;
import dev.tollgate.v1.Role;
import dev.tollgate.v1.TextPart;
import dev.tollgate.v1.Tool;
import dev.tollgate.v1.ToolResultPart;

/** The usual turns of a conversation, and tools. */
public final class Messages {
  private Messages() {}

  /**
   * What the user says.
   *
   * @param text the words
   * @return the message
   */
  public static Message user(String text) {
    return said(Role.ROLE_USER, text);
  }

  /**
   * Instructions of the application.
   *
   * @param text the words
   * @return the message
   */
  public static Message system(String text) {
    return said(Role.ROLE_SYSTEM, text);
  }

  /**
   * What the model said; {@link Answer#message} has all of it, with its tool calls and its
   * reasoning.
   *
   * @param text the words
   * @return the message
   */
  public static Message assistant(String text) {
    return said(Role.ROLE_ASSISTANT, text);
  }

  /**
   * What a tool gave back.
   *
   * @param call the call that it answers
   * @param result what the model is told, often JSON
   * @return the message
   */
  public static Message toolResult(ToolCall call, String result) {
    return result(call, result, false);
  }

  /**
   * Tells that a tool failed.
   *
   * @param call the call that it answers
   * @param failure how it failed, in words for the model
   * @return the message
   */
  public static Message toolFailure(ToolCall call, String failure) {
    return result(call, failure, true);
  }

  /**
   * A function that the model may call.
   *
   * @param name its name, 1 to 64 characters of {@code [a-zA-Z0-9_-]}
   * @param description what it does, for the model
   * @param parametersJson JSON Schema of its arguments
   * @return the tool
   */
  public static Tool function(String name, String description, String parametersJson) {
    return Tool.newBuilder()
        .setFunction(
            FunctionTool.newBuilder()
                .setName(name)
                .setDescription(description)
                .setParametersJson(parametersJson))
        .build();
  }

  private static Message said(Role role, String text) {
    return Message.newBuilder().setRole(role).addParts(text(text)).build();
  }

  private static Message result(ToolCall call, String text, boolean failed) {
    ToolResultPart.Builder result =
        ToolResultPart.newBuilder().setToolCallId(call.id()).addContent(text(text));
    if (failed) {
      result.setIsError(true);
    }
    return Message.newBuilder()
        .setRole(Role.ROLE_TOOL)
        .addParts(Part.newBuilder().setToolResult(result))
        .build();
  }

  private static Part text(String text) {
    return Part.newBuilder().setText(TextPart.newBuilder().setText(text)).build();
  }
}
