package dev.tollgate.client;

/**
 * The model asks for a tool.
 *
 * @param id what the result quotes; see {@link Messages#toolResult}
 * @param name of the tool
 * @param argumentsJson as the model wrote them: usually, not always, a JSON object
 */
public record ToolCall(String id, String name, String argumentsJson) {}
