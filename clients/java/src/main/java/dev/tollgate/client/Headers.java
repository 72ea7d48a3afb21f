package dev.tollgate.client;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/**
 * What every call carries beside its message: the key and the trace; and in a create the id that
 * makes it repeatable.
 */
final class Headers implements ClientInterceptor {
  static final CallOptions.Key<String> TRACEPARENT = CallOptions.Key.create("traceparent");
  private static final Metadata.Key<String> AUTHORIZATION = text("authorization");
  private static final Metadata.Key<String> TRACEPARENT_HEADER = text("traceparent");

  private final @Nullable String authorization;

  Headers(@Nullable String key) {
    this.authorization = key == null ? null : "Bearer " + key;
  }

  static Metadata.Key<String> text(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }

  @Override
  public <Q, A> ClientCall<Q, A> interceptCall(
      MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
    return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
      @Override
      public void start(Listener<A> listener, Metadata headers) {
        if (authorization != null) {
          headers.put(AUTHORIZATION, authorization);
        }
        String traceparent = options.getOption(TRACEPARENT);
        if (traceparent != null) {
          headers.put(TRACEPARENT_HEADER, traceparent);
        } else {
          Tracing.inject(headers);
        }
        super.start(listener, headers);
      }

      @Override
      public void sendMessage(Q message) {
        super.sendMessage(repeatable(message));
      }
    };
  }

  /** Retries happen below: every try of one call has the same id. */
  @SuppressWarnings("unchecked") // A message's builder builds its own type.
  private static <Q> Q repeatable(Q request) {
    if (request instanceof Message message) {
      FieldDescriptor id = message.getDescriptorForType().findFieldByName("request_id");
      if (id != null && message.getField(id).equals("")) {
        return (Q) message.toBuilder().setField(id, UUID.randomUUID().toString()).build();
      }
    }
    return request;
  }
}
