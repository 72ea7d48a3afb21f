package dev.tollgate.client.errors;

/**
 * A bad field of a request.
 *
 * @param field its path, such as {@code request.messages}
 * @param description what is wrong with it
 */
public record FieldViolation(String field, String description) {}
