package tollgate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

const (
	// Version of this package, in step with the contract.
	Version = "0.1.0"
	// DefaultAddress is where a gateway listens unless it is told otherwise.
	DefaultAddress = "http://127.0.0.1:4000"
	// DefaultTimeout is what a call of a model may take where neither its context nor the client says.
	DefaultTimeout = 10 * time.Minute

	// Longest time of an admin call whose context has no deadline.
	adminTimeout = time.Minute
	// Three times the gateway's own default limit on bodies.
	maxMessageBytes = 150_000_000
)

// Client is a connection to a gateway with one virtual key. It is safe for concurrent use; make one and keep it.
type Client struct {
	// Keys issues and governs virtual keys.
	Keys *Keys
	// Teams governs teams and their members.
	Teams *Teams
	// Users governs users.
	Users *Users
	// Organizations governs organizations.
	Organizations *Organizations
	// Budgets governs what may be spent.
	Budgets *Budgets
	// Spend tells what was spent: sums, the ledger, corrections.
	Spend *Spend
	// Audit reads the audit log.
	Audit *Audit
	// Models tells what may be called, and how its deployments do.
	Models *Models
	// Embeddings turns texts into vectors.
	Embeddings *Embeddings
	// Audio speaks texts, and writes down what is said.
	Audio *Audio
	// Images makes images of words, and of other images.
	Images *Images
	// Files keeps files at providers.
	Files *Files
	// Batches makes batches of calls.
	Batches *Batches

	connection  *grpc.ClientConn
	completions v1.CompletionServiceClient
	reranks     v1.RerankServiceClient
	moderations v1.ModerationServiceClient
	images      v1.ImageServiceClient
}

// Option is a setting of [New].
type Option func(*settings)

type settings struct {
	address string
	key     string
	tls     *tls.Config
	timeout time.Duration
	dial    []grpc.DialOption
}

// WithAddress says where the gateway is: `http://host:port`, or `https://host:port` for TLS. Else the environment's TOLLGATE_ADDRESS, else
// [DefaultAddress].
func WithAddress(address string) Option { return func(s *settings) { s.address = address } }

// WithKey says which virtual key pays, `tg-...`. Else the environment's TOLLGATE_API_KEY. Without any, calls fail with [*Unauthenticated].
func WithKey(key string) Option { return func(s *settings) { s.key = key } }

// WithTLS sets authorities, client certificates and the like for an `https` address. Else those of the system.
func WithTLS(config *tls.Config) Option { return func(s *settings) { s.tls = config } }

// WithTimeout says what a call may take whose context has no deadline; 0: as long as it likes. Else [DefaultTimeout]. Admin calls take a
// minute at most, and [Audit.Tail] and [Spend.Watch] have no end of their own.
func WithTimeout(timeout time.Duration) Option { return func(s *settings) { s.timeout = timeout } }

// WithDialOptions adds options of gRPC's own, which win over those of this package: a stats handler of OpenTelemetry, a dialer, ...
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) { s.dial = append(s.dial, options...) }
}

// New makes a client. It connects with the first call, and again whenever it must; so an error here is about the settings.
func New(options ...Option) (*Client, error) {
	set := settings{
		address: orElse(os.Getenv("TOLLGATE_ADDRESS"), DefaultAddress),
		key:     os.Getenv("TOLLGATE_API_KEY"),
		timeout: DefaultTimeout,
	}
	for _, option := range options {
		option(&set)
	}
	target, transport, err := set.target()
	if err != nil {
		return nil, err
	}
	if strings.ContainsFunc(set.key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("tollgate: the key has a space, a line break or another character that no header takes")
	}
	call := caller{authorization: set.key, timeout: set.timeout}
	if set.key != "" {
		call.authorization = "Bearer " + set.key
	}
	dial := append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithUserAgent("tollgate-go/" + Version),
		grpc.WithDefaultServiceConfig(serviceConfig()),
		grpc.WithDisableServiceConfig(), // that of the name server
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)),
		grpc.WithChainUnaryInterceptor(call.unary),
		grpc.WithChainStreamInterceptor(call.stream),
	}, set.dial...)
	connection, err := grpc.NewClient(target, dial...)
	if err != nil {
		return nil, fmt.Errorf("tollgate: %w", err)
	}
	return over(connection), nil
}

func over(connection *grpc.ClientConn) *Client {
	keys, tenancy := v1.NewKeyAdminServiceClient(connection), v1.NewTenancyServiceClient(connection)
	budgets := v1.NewBudgetServiceClient(connection)
	return &Client{
		Keys:          &Keys{keys, tenancy},
		Teams:         &Teams{tenancy},
		Users:         &Users{tenancy},
		Organizations: &Organizations{tenancy},
		Budgets:       &Budgets{budgets},
		Spend:         &Spend{budgets},
		Audit:         &Audit{v1.NewAuditServiceClient(connection)},
		Models:        &Models{v1.NewModelServiceClient(connection)},
		Embeddings:    &Embeddings{v1.NewEmbeddingServiceClient(connection)},
		Audio:         &Audio{v1.NewAudioServiceClient(connection)},
		Images:        &Images{v1.NewImageServiceClient(connection)},
		Files:         &Files{v1.NewFileServiceClient(connection)},
		Batches:       &Batches{v1.NewBatchServiceClient(connection)},
		connection:    connection,
		completions:   v1.NewCompletionServiceClient(connection),
		reranks:       v1.NewRerankServiceClient(connection),
		moderations:   v1.NewModerationServiceClient(connection),
		images:        v1.NewImageServiceClient(connection),
	}
}

// Conn is the connection itself, for the generated clients of package v1: they have the same key, retries and errors over it.
func (c *Client) Conn() *grpc.ClientConn { return c.connection }

// Close ends the connection, and the calls on it with [*Cancelled].
func (c *Client) Close() error { return c.connection.Close() }

// Where gRPC dials, and how.
func (s *settings) target() (string, credentials.TransportCredentials, error) {
	wrong := func(what string) error {
		return fmt.Errorf("tollgate: the address %q %s: it has the form http://host:port, or https://host:port", s.address, what)
	}
	address, err := url.Parse(s.address)
	switch {
	case err != nil:
		// Not the error itself: it repeats the address, which may hold a password.
		return "", nil, errors.New("tollgate: the address is no URL: it has the form http://host:port, or https://host:port")
	case address.User != nil:
		return "", nil, errors.New("tollgate: the address holds a user: keys are given apart, with WithKey or TOLLGATE_API_KEY")
	case address.Scheme != "http" && address.Scheme != "https":
		return "", nil, wrong("has no scheme that is known")
	case address.Hostname() == "":
		return "", nil, wrong("names no host")
	case strings.Trim(address.Path, "/") != "" || address.RawQuery != "" || address.Fragment != "":
		return "", nil, wrong("says more than a host")
	}
	secure := address.Scheme == "https"
	if s.tls != nil && !secure {
		return "", nil, wrong("does without TLS, and there are settings for it")
	}
	port := orElse(address.Port(), map[bool]string{false: "80", true: "443"}[secure])
	target := "dns:///" + net.JoinHostPort(address.Hostname(), port)
	if !secure {
		return target, insecure.NewCredentials(), nil
	}
	return target, credentials.NewTLS(s.tls), nil
}

// What every call has in common: the key, a deadline, the trace, errors with types. It lies in interceptors, so that the generated
// clients have it too, and the key stands in no field that anybody prints.
type caller struct {
	authorization string
	timeout       time.Duration
}

func (c *caller) unary(
	ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	ctx, cancel := c.prepare(ctx, method)
	defer cancel()
	return FromError(invoke(ctx, method, request, reply, cc, options...))
}

func (c *caller) stream(
	ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	ctx, cancel := c.prepare(ctx, method)
	stream, err := open(ctx, desc, cc, method, options...)
	if err != nil {
		cancel()
		return nil, FromError(err)
	}
	return &typedStream{stream, cancel}, nil
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
