package dev.tollgate.examples;

import dev.tollgate.client.Answer;
import dev.tollgate.client.Client;
import dev.tollgate.client.Messages;
import dev.tollgate.client.ToolCall;
import dev.tollgate.v1.CompletionRequest;

/** Lets a model call a tool, at most five times. Argument: the model ({@code demo}). */
public final class Tools {
  private static final String SCHEMA =
      """
      {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}""";

  private Tools() {}

  /**
   * Asks for the weather.
   *
   * @param arguments the model
   */
  public static void main(String[] arguments) {
    String model = arguments.length > 0 ? arguments[0] : "demo";
    CompletionRequest.Builder request =
        CompletionRequest.newBuilder()
            .setModel(model)
            .addMessages(Messages.user("What is the weather in Berlin?"))
            .addTools(Messages.function("weather", "The weather of a city, now", SCHEMA));
    try (Client client = Client.create()) {
      for (int turn = 0; turn < 5; turn++) {
        Answer answer = client.complete(request.build());
        if (answer.toolCalls().isEmpty()) {
          System.out.println(answer.text());
          return;
        }
        request.addMessages(answer.message());
        for (ToolCall call : answer.toolCalls()) {
          System.out.printf("%s(%s)%n", call.name(), call.argumentsJson());
          request.addMessages(Messages.toolResult(call, "{\"celsius\": 11, \"sky\": \"grey\"}"));
        }
      }
      System.out.println("The model went on asking for tools.");
    }
  }
}
