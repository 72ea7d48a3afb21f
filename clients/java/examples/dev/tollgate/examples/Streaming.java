package dev.tollgate.examples;

import dev.tollgate.client.Client;
import dev.tollgate.client.CompletionStream;
import dev.tollgate.client.errors.BudgetExceededException;
import dev.tollgate.v1.Usage;

/**
 * Prints an answer as it is made, and what it cost. Arguments: the model ({@code demo}), the
 * prompt.
 */
public final class Streaming {
  private Streaming() {}

  /**
   * Asks once.
   *
   * @param arguments model and prompt
   */
  public static void main(String[] arguments) {
    String model = arguments.length > 0 ? arguments[0] : "demo";
    String prompt = arguments.length > 1 ? arguments[1] : "Say hello";
    try (Client client = Client.create();
        CompletionStream stream = client.stream(model, prompt)) {
      stream.texts().forEach(System.out::print);
      Usage usage = stream.answer().usage();
      System.out.printf("%n%d nano-dollars%n", usage.getCostNanoUsd());
    } catch (BudgetExceededException e) {
      System.err.printf("The budget of the %s is spent until %s.%n", e.scope(), e.resetsAt());
    }
  }
}
