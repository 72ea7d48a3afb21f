package dev.tollgate.client;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import dev.tollgate.v1.*;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.inprocess.InProcessChannelBuilder;
import io.grpc.inprocess.InProcessServerBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A gateway in this process: answers model `demo`, never ends model `endless`, and tells what it
 * was sent.
 */
final class FakeGateway implements AutoCloseable {
  final Queue<Metadata> headers = new ConcurrentLinkedQueue<>();
  final Queue<CreateKeyRequest> created = new ConcurrentLinkedQueue<>();
  final Queue<ListKeysRequest> listed = new ConcurrentLinkedQueue<>();
  final AtomicInteger refusals = new AtomicInteger();
  final AtomicInteger calls = new AtomicInteger();
  final AtomicInteger sent = new AtomicInteger();
  final CountDownLatch cancelled = new CountDownLatch(1);
  private final CountDownLatch arrived = new CountDownLatch(1);
  private final Server server;
  final ManagedChannel channel;

  FakeGateway() throws IOException {
    String name = InProcessServerBuilder.generateName();
    server =
        InProcessServerBuilder.forName(name)
            .addService(new Completions())
            .addService(new Keys())
            .addService(new Audio())
            .intercept(new Recorder())
            .build()
            .start();
    channel =
        InProcessChannelBuilder.forName(name)
            .defaultServiceConfig(Retries.serviceConfig())
            .enableRetry()
            .build();
  }

  Client client() {
    return Client.builder(Map.of()).key("tg-test").over(channel);
  }

  /** Waits for a call that is not answered. */
  void awaitCall() throws InterruptedException {
    if (!arrived.await(10, TimeUnit.SECONDS)) {
      throw new AssertionError("no call came");
    }
  }

  boolean sawCancel() throws InterruptedException {
    return cancelled.await(10, TimeUnit.SECONDS);
  }

  @Override
  public void close() {
    channel.shutdownNow();
    server.shutdownNow();
  }

  static CompletionEvent text(String text) {
    return CompletionEvent.newBuilder().setDelta(Delta.newBuilder().setText(text)).build();
  }

  static List<CompletionEvent> hello() {
    return List.of(
        CompletionEvent.newBuilder().setStarted(Started.newBuilder().setCallId("call-1")).build(),
        text("Hel"),
        text("lo"),
        CompletionEvent.newBuilder().setPartDone(PartDone.getDefaultInstance()).build(),
        CompletionEvent.newBuilder()
            .setFinished(Finished.newBuilder().setReason(FinishReason.FINISH_REASON_STOP))
            .build(),
        CompletionEvent.newBuilder().setUsage(Usage.newBuilder().setCostNanoUsd(7)).build());
  }

  static RuntimeException refusal(Status.Code code, String reason, Map<String, String> metadata) {
    ErrorInfo info =
        ErrorInfo.newBuilder()
            .setDomain("tollgate.dev")
            .setReason(reason)
            .putAllMetadata(metadata)
            .build();
    return StatusProto.toStatusRuntimeException(
        com.google.rpc.Status.newBuilder()
            .setCode(code.value())
            .setMessage("refused")
            .addDetails(Any.pack(info))
            .build());
  }

  private final class Recorder implements ServerInterceptor {
    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, A> call, Metadata sentHeaders, ServerCallHandler<Q, A> next) {
      headers.add(sentHeaders);
      calls.incrementAndGet();
      return Contexts.interceptCall(Context.current(), call, sentHeaders, next);
    }
  }

  private final class Completions extends CompletionServiceGrpc.CompletionServiceImplBase {
    @Override
    public void createCompletion(
        CreateCompletionRequest request, StreamObserver<CreateCompletionResponse> out) {
      String model = request.getRequest().getModel();
      if (model.equals("endless")) {
        ((ServerCallStreamObserver<?>) out).setOnCancelHandler(cancelled::countDown);
        arrived.countDown();
      } else if (model.equals("down")) {
        out.onError(Status.UNAVAILABLE.asRuntimeException());
      } else if (!model.equals("demo")) {
        out.onError(refusal(Status.Code.NOT_FOUND, "MODEL_NOT_FOUND", Map.of("model", model)));
      } else {
        Collector whole = new Collector();
        hello().forEach(whole::take);
        out.onNext(CreateCompletionResponse.newBuilder().setCompletion(whole.completion()).build());
        out.onCompleted();
      }
    }

    @Override
    public void streamCompletion(
        StreamCompletionRequest request, StreamObserver<StreamCompletionResponse> out) {
      var call = (ServerCallStreamObserver<StreamCompletionResponse>) out;
      call.setOnCancelHandler(cancelled::countDown);
      if (request.getRequest().getModel().equals("endless")) {
        // As fast as the reader asks for more.
        call.setOnReadyHandler(
            () -> {
              while (call.isReady() && !call.isCancelled()) {
                sent.incrementAndGet();
                call.onNext(response(text("x")));
              }
            });
        return;
      }
      if (request.getRequest().getModel().equals("unfinished")) {
        hello().subList(0, 3).forEach(event -> call.onNext(response(event)));
        call.onCompleted();
        return;
      }
      hello().forEach(event -> call.onNext(response(event)));
      if (request.getRequest().getModel().equals("breaks")) {
        call.onError(refusal(Status.Code.UNAVAILABLE, "STREAM_TRUNCATED", Map.of("provider", "p")));
      } else {
        call.onCompleted();
      }
    }

    private StreamCompletionResponse response(CompletionEvent event) {
      return StreamCompletionResponse.newBuilder().setEvent(event).build();
    }
  }

  /** Takes recordings, and answers none. */
  private static final class Audio extends AudioServiceGrpc.AudioServiceImplBase {
    @Override
    public StreamObserver<CreateTranscriptionRequest> createTranscription(
        StreamObserver<CreateTranscriptionResponse> out) {
      return new StreamObserver<>() {
        @Override
        public void onNext(CreateTranscriptionRequest request) {}

        @Override
        public void onError(Throwable cancelled) {}

        @Override
        public void onCompleted() {}
      };
    }
  }

  private final class Keys extends KeyAdminServiceGrpc.KeyAdminServiceImplBase {
    @Override
    public void createKey(CreateKeyRequest request, StreamObserver<CreateKeyResponse> out) {
      created.add(request);
      if (refusals.getAndDecrement() > 0) {
        out.onError(Status.UNAVAILABLE.asRuntimeException());
        return;
      }
      out.onNext(CreateKeyResponse.newBuilder().setSecret("tg-secret").build());
      out.onCompleted();
    }

    @Override
    public void updateKey(UpdateKeyRequest request, StreamObserver<UpdateKeyResponse> out) {
      out.onError(Status.UNAVAILABLE.asRuntimeException());
    }

    /** Three pages, of which the second is empty. */
    @Override
    public void listKeys(ListKeysRequest request, StreamObserver<ListKeysResponse> out) {
      listed.add(request);
      ListKeysResponse.Builder page = ListKeysResponse.newBuilder();
      switch (request.getPageToken()) {
        case "" -> page.addKeys(Key.newBuilder().setId("a")).setNextPageToken("2");
        case "2" -> page.setNextPageToken("3");
        default -> page.addKeys(Key.newBuilder().setId("b"));
      }
      out.onNext(page.build());
      out.onCompleted();
    }
  }
}
