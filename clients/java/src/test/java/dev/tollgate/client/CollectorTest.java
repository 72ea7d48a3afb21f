package dev.tollgate.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.tollgate.v1.Completion;
import dev.tollgate.v1.CompletionEvent;
import dev.tollgate.v1.Delta;
import dev.tollgate.v1.Restarted;
import dev.tollgate.v1.ToolCallStart;
import java.util.List;
import org.junit.jupiter.api.Test;

class CollectorTest {
  private static Completion fold(CompletionEvent... events) {
    Collector collector = new Collector();
    List.of(events).forEach(collector::take);
    return collector.completion();
  }

  private static CompletionEvent delta(Delta.Builder delta) {
    return CompletionEvent.newBuilder().setDelta(delta).build();
  }

  @Test
  void partsOfOneChoiceInterleave() {
    Answer answer =
        new Answer(
            fold(
                delta(
                    Delta.newBuilder()
                        .setPart(1)
                        .setToolCallStart(ToolCallStart.newBuilder().setId("a").setName("f"))),
                delta(
                    Delta.newBuilder()
                        .setPart(3)
                        .setToolCallStart(ToolCallStart.newBuilder().setId("b").setName("g"))),
                delta(Delta.newBuilder().setPart(3).setToolArguments("{}")),
                delta(Delta.newBuilder().setPart(1).setToolArguments("{\"x\"")),
                delta(Delta.newBuilder().setPart(0).setText("Well.")),
                delta(Delta.newBuilder().setPart(1).setToolArguments(":1}"))));

    assertEquals("Well.", answer.text());
    assertEquals(
        List.of(new ToolCall("a", "f", "{\"x\":1}"), new ToolCall("b", "g", "{}")),
        answer.toolCalls());
  }

  @Test
  void reasoningKeepsItsSignatureAndForm() {
    Completion completion =
        fold(
            delta(Delta.newBuilder().setReasoning("Hm")),
            delta(Delta.newBuilder().setReasoning("m.")),
            delta(Delta.newBuilder().setReasoningSignature("sig").setReasoningFormat("anthropic")));

    var reasoning = completion.getChoices(0).getMessage().getParts(0).getReasoning();
    assertEquals("Hmm.", reasoning.getText());
    assertEquals("sig", reasoning.getSignature());
    assertEquals("anthropic", reasoning.getFormat());
  }

  @Test
  void whatARestartVoidsIsForgotten() {
    CompletionEvent restart =
        CompletionEvent.newBuilder()
            .setRestarted(Restarted.newBuilder().setDiscardFromSeq(1))
            .build();
    CompletionEvent goesOn =
        CompletionEvent.newBuilder().setRestarted(Restarted.getDefaultInstance()).build();

    assertEquals(
        "new", new Answer(fold(FakeGateway.text("old"), restart, FakeGateway.text("new"))).text());
    assertEquals(
        "oldnew",
        new Answer(fold(FakeGateway.text("old"), goesOn, FakeGateway.text("new"))).text());
  }

  @Test
  void choicesAreApartAndInOrder() {
    Completion completion =
        fold(
            delta(Delta.newBuilder().setChoice(1).setText("b")),
            delta(Delta.newBuilder().setChoice(0).setText("a")));

    assertEquals(0, completion.getChoices(0).getIndex());
    assertEquals("a", new Answer(completion).text());
  }

  @Test
  void logProbabilitiesAreJoinedWithTheirLiterals() {
    Completion completion =
        fold(
            delta(
                Delta.newBuilder()
                    .setText("a")
                    .setLogprobsJson("{\"content\":[{\"p\":-1e-7}],\"refusal\":null}")),
            delta(
                Delta.newBuilder()
                    .setText("b")
                    .setLogprobsJson("{\"content\":[{\"p\":-0.50}],\"refusal\":null}")));

    assertEquals(
        "{\"content\":[{\"p\":-1e-7},{\"p\":-0.50}],\"refusal\":null}",
        completion.getChoices(0).getLogprobsJson());
  }
}
