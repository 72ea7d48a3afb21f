package dev.tollgate.client;

import dev.tollgate.client.errors.TollgateException;
import dev.tollgate.v1.CompletionRequest;
import dev.tollgate.v1.CompletionServiceGrpc;
import dev.tollgate.v1.CountTokensRequest;
import dev.tollgate.v1.CountTokensResponse;
import dev.tollgate.v1.CreateCompletionRequest;
import dev.tollgate.v1.CreateCompletionResponse;
import dev.tollgate.v1.StreamCompletionRequest;
import dev.tollgate.v1.StreamCompletionResponse;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * A connection to a gateway, with a virtual key.
 *
 * <p>One is enough for a program: it may be used by any number of threads, connects when it is
 * first needed, and again when the connection broke. Close it at the end.
 *
 * <p>Every method throws a {@link TollgateException} of the class that tells why a call failed.
 * Calls that only read, and creates, are tried again where the gateway cannot be reached;
 * completions never are.
 */
public final class Client implements AutoCloseable {
  private static final String DEFAULT_ADDRESS = "http://127.0.0.1:4000";
  private static final int MAX_MESSAGE_BYTES = 150_000_000;

  private final @Nullable ManagedChannel connection;
  private final Channel channel;
  private final Calls calls;

  private Client(@Nullable ManagedChannel connection, Channel bare, Builder settings) {
    this.connection = connection;
    this.channel = ClientInterceptors.intercept(bare, new Headers(settings.key));
    this.calls = new Calls(channel, settings.timeout);
  }

  /**
   * A client with what the environment says: {@code TOLLGATE_ADDRESS}, else {@code
   * http://127.0.0.1:4000}, and {@code TOLLGATE_API_KEY}.
   *
   * @return a client that is not yet connected
   * @throws IllegalArgumentException when one of them is malformed
   */
  public static Client create() {
    return builder().build();
  }

  /**
   * Begins a client with other settings.
   *
   * @return a builder that has what the environment says
   */
  public static Builder builder() {
    return new Builder(System.getenv());
  }

  static Builder builder(Map<String, String> environment) {
    return new Builder(environment);
  }

  /**
   * Asks a model, and waits for the whole answer.
   *
   * @param request the call; {@link Messages} helps with its conversation
   * @return the answer
   */
  public Answer complete(CompletionRequest request) {
    return complete(request, Options.defaults());
  }

  /**
   * Asks a model, and waits for the whole answer.
   *
   * @param request the call
   * @param options where it differs from the client's defaults
   * @return the answer
   */
  public Answer complete(CompletionRequest request, Options options) {
    return answer(
        calls.ask(CompletionServiceGrpc.getCreateCompletionMethod(), whole(request), options));
  }

  /**
   * Asks a model one thing.
   *
   * @param model alias of the model
   * @param prompt what the user says
   * @return the answer
   */
  public Answer complete(String model, String prompt) {
    return complete(ask(model, prompt));
  }

  /**
   * Asks a model, and gives its answer as it is made. Close the stream: that ends the call at the
   * provider, too.
   *
   * @param request the call
   * @return the answer's events
   */
  public CompletionStream stream(CompletionRequest request) {
    return stream(request, Options.defaults());
  }

  /**
   * Asks a model, and gives its answer as it is made. Close the stream: that ends the call at the
   * provider, too.
   *
   * @param request the call
   * @param options where it differs from the client's defaults
   * @return the answer's events
   */
  public CompletionStream stream(CompletionRequest request, Options options) {
    return new CompletionStream(
        calls.stream(
            CompletionServiceGrpc.getStreamCompletionMethod(),
            streamed(request),
            options,
            StreamCompletionResponse::getEvent));
  }

  /**
   * Asks a model one thing, and gives its answer as it is made.
   *
   * @param model alias of the model
   * @param prompt what the user says
   * @return the answer's events, to be closed
   */
  public CompletionStream stream(String model, String prompt) {
    return stream(ask(model, prompt));
  }

  /**
   * Counts the tokens of a prompt, without making the call.
   *
   * @param request the call
   * @return the count, whether it is exact, and the bound that budgets hold
   */
  public CountTokensResponse countTokens(CompletionRequest request) {
    return countTokens(request, Options.defaults());
  }

  /**
   * Counts the tokens of a prompt, without making the call.
   *
   * @param request the call
   * @param options where it differs from the client's defaults
   * @return the count, whether it is exact, and the bound that budgets hold
   */
  public CountTokensResponse countTokens(CompletionRequest request, Options options) {
    CountTokensRequest asked = CountTokensRequest.newBuilder().setRequest(request).build();
    return calls.ask(CompletionServiceGrpc.getCountTokensMethod(), asked, options);
  }

  /**
   * The same calls without waiting.
   *
   * @return futures and publishers over this connection
   */
  public AsyncClient async() {
    return new AsyncClient(calls);
  }

  /**
   * Texts to vectors.
   *
   * @return the sub-client
   */
  public Embeddings embeddings() {
    return new Embeddings(calls);
  }

  /**
   * Speech and transcripts.
   *
   * @return the sub-client
   */
  public Audio audio() {
    return new Audio(calls);
  }

  /**
   * Images of words, and of other images.
   *
   * @return the sub-client
   */
  public Images images() {
    return new Images(calls);
  }

  /**
   * Files at providers.
   *
   * @return the sub-client
   */
  public StoredFiles files() {
    return new StoredFiles(calls);
  }

  /**
   * Batches of calls.
   *
   * @return the sub-client
   */
  public Batches batches() {
    return new Batches(calls);
  }

  /**
   * Models, those of the catalogue, and where calls would go.
   *
   * @return the sub-client
   */
  public Models models() {
    return new Models(calls);
  }

  /**
   * Virtual keys.
   *
   * @return the sub-client
   */
  public Keys keys() {
    return new Keys(calls);
  }

  /**
   * Organizations.
   *
   * @return the sub-client
   */
  public Organizations organizations() {
    return new Organizations(calls);
  }

  /**
   * Teams and their members.
   *
   * @return the sub-client
   */
  public Teams teams() {
    return new Teams(calls);
  }

  /**
   * Users.
   *
   * @return the sub-client
   */
  public Users users() {
    return new Users(calls);
  }

  /**
   * Budgets.
   *
   * @return the sub-client
   */
  public Budgets budgets() {
    return new Budgets(calls);
  }

  /**
   * What was spent: sums, the ledger, and money as it moves.
   *
   * @return the sub-client
   */
  public Spend spend() {
    return new Spend(calls);
  }

  /**
   * The audit log.
   *
   * @return the sub-client
   */
  public Audit audit() {
    return new Audit(calls);
  }

  /**
   * The connection with the key in every call, for the generated stubs of {@code dev.tollgate.v1}:
   * what this layer does not name, and interceptors of one's own. Errors of stubs become typed by
   * {@link TollgateException#of}.
   *
   * @return a channel; it ends with this client
   */
  public Channel channel() {
    return channel;
  }

  /** Ends the connection. Calls in flight are cancelled, at the provider as well. */
  @Override
  public void close() {
    if (connection == null) {
      return;
    }
    connection.shutdownNow();
    try {
      connection.awaitTermination(5, TimeUnit.SECONDS);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  static CompletionRequest ask(String model, String prompt) {
    return CompletionRequest.newBuilder()
        .setModel(model)
        .addMessages(Messages.user(prompt))
        .build();
  }

  static CreateCompletionRequest whole(CompletionRequest request) {
    return CreateCompletionRequest.newBuilder().setRequest(request).build();
  }

  static StreamCompletionRequest streamed(CompletionRequest request) {
    return StreamCompletionRequest.newBuilder().setRequest(request).build();
  }

  static Answer answer(CreateCompletionResponse response) {
    return new Answer(response.getCompletion());
  }

  /** Settings of a client. */
  public static final class Builder {
    private String address;
    private @Nullable String key;
    private Duration timeout = Duration.ofMinutes(10);
    private @Nullable Path authorities;
    private @Nullable Path certificate;
    private @Nullable Path privateKey;
    private @Nullable String serverName;

    private Builder(Map<String, String> environment) {
      String named = environment.getOrDefault("TOLLGATE_ADDRESS", "");
      this.address = named.isEmpty() ? DEFAULT_ADDRESS : named;
      String secret = environment.getOrDefault("TOLLGATE_API_KEY", "");
      this.key = secret.isEmpty() ? null : secret;
    }

    /**
     * Where the gateway listens.
     *
     * @param address {@code http://host:port}, or {@code https://host:port} for TLS
     * @return this
     */
    public Builder address(String address) {
      this.address = address;
      return this;
    }

    /**
     * The virtual key.
     *
     * @param key {@code tg-...}; null: none, which few calls are answered without
     * @return this
     */
    public Builder key(@Nullable String key) {
      this.key = key;
      return this;
    }

    /**
     * How long a call may take that names no timeout of its own, all of a stream included. Tails
     * have none. 10 minutes unless said.
     *
     * @param timeout positive, or zero for no end
     * @return this
     * @throws IllegalArgumentException when it is negative
     */
    public Builder timeout(Duration timeout) {
      if (timeout.isNegative()) {
        throw new IllegalArgumentException("timeout: it is negative: " + timeout);
      }
      this.timeout = timeout;
      return this;
    }

    /**
     * Trusts these authorities in place of the system's.
     *
     * @param certificates a file of PEM certificates
     * @return this
     */
    public Builder trust(Path certificates) {
      this.authorities = certificates;
      return this;
    }

    /**
     * Shows a certificate to the gateway (mTLS).
     *
     * @param certificate a file of PEM certificates, the client's own first
     * @param privateKey a file with its private key, PEM, PKCS #8
     * @return this
     */
    public Builder identity(Path certificate, Path privateKey) {
      this.certificate = certificate;
      this.privateKey = privateKey;
      return this;
    }

    /**
     * The name that the gateway's certificate must have, where it is not the address's host.
     *
     * @param serverName a host name
     * @return this
     */
    public Builder serverName(String serverName) {
      this.serverName = serverName;
      return this;
    }

    /**
     * Makes the client. It connects with the first call.
     *
     * @return the client
     * @throws IllegalArgumentException when a setting is malformed, or TLS is set up for an {@code
     *     http://} address
     * @throws UncheckedIOException when a certificate or key cannot be read
     */
    public Client build() {
      Address where = Address.parse(address);
      checkKey();
      ManagedChannelBuilder<?> builder =
          Grpc.newChannelBuilder(where.target(), credentials(where))
              .userAgent("tollgate-java/" + version())
              .maxInboundMessageSize(MAX_MESSAGE_BYTES)
              .keepAliveTime(30, TimeUnit.SECONDS)
              .keepAliveTimeout(10, TimeUnit.SECONDS)
              .disableServiceConfigLookUp()
              .defaultServiceConfig(Retries.serviceConfig())
              .enableRetry();
      if (serverName != null) {
        builder = builder.overrideAuthority(serverName);
      }
      ManagedChannel connection = builder.build();
      return new Client(connection, connection, this);
    }

    /**
     * Makes the client over a channel that was made elsewhere: with interceptors, another resolver,
     * in a test. Only key and timeout count; retries are the channel's, and closing the client
     * leaves it open.
     *
     * @param channel the channel
     * @return the client
     * @throws IllegalArgumentException when the key is malformed
     */
    public Client over(Channel channel) {
      checkKey();
      return new Client(null, channel, this);
    }

    private void checkKey() {
      if (key != null && (key.isEmpty() || !key.chars().allMatch(c -> c > ' ' && c < 0x7f))) {
        throw new IllegalArgumentException("key: it is empty, or has what no header takes");
      }
    }

    private ChannelCredentials credentials(Address where) {
      if (!where.secure()) {
        if (authorities != null || certificate != null || serverName != null) {
          throw new IllegalArgumentException(
              "address: TLS is set up, so it must begin with https://");
        }
        return InsecureChannelCredentials.create();
      }
      TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
      try {
        if (authorities != null) {
          tls.trustManager(authorities.toFile());
        }
        if (certificate != null && privateKey != null) {
          tls.keyManager(certificate.toFile(), privateKey.toFile());
        }
      } catch (IOException e) {
        throw new UncheckedIOException("cannot read a certificate or key of TLS", e);
      }
      return tls.build();
    }
  }

  private static String version() {
    try (InputStream in = Client.class.getResourceAsStream("version.properties")) {
      Properties properties = new Properties();
      if (in != null) {
        properties.load(in);
      }
      return properties.getProperty("version", "unknown");
    } catch (IOException e) {
      return "unknown";
    }
  }
}
