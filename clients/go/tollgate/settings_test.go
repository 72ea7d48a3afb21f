package tollgate_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc/credentials"

	"tollgate.dev/clients/go/tollgate"
)

// Not parallel: the environment is everybody's.
func TestTheEnvironmentSaysWhereAndWhoUnlessTheProgramDoes(t *testing.T) {
	gateway := &scripted{}
	gateway.start(t)
	t.Setenv("TOLLGATE_ADDRESS", gateway.address)
	t.Setenv("TOLLGATE_API_KEY", "tg-environment")
	for _, one := range []struct {
		options []tollgate.Option
		want    string
	}{{nil, "Bearer tg-environment"}, {[]tollgate.Option{tollgate.WithKey("tg-program")}, "Bearer tg-program"}} {
		client, err := tollgate.New(one.options...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Keys.Get(t.Context(), ""); err != nil {
			t.Error(err)
		}
		calls := gateway.of("GetKey")
		if got := calls[len(calls)-1].headers.Get("authorization"); len(got) != 1 || got[0] != one.want {
			t.Errorf("%q, not %s", got, one.want)
		}
		_ = client.Close()
	}
	t.Setenv("TOLLGATE_ADDRESS", "nowhere")
	if _, err := tollgate.New(); err == nil {
		t.Error("the environment's address was not looked at")
	}
}

func TestTLSIsSpokenWithAGatewayThatIsTrustedAndNoOther(t *testing.T) {
	t.Parallel()
	certified := httptest.NewTLSServer(nil) // for its certificate alone
	defer certified.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(certified.Certificate())
	gateway := &scripted{transport: credentials.NewTLS(&tls.Config{Certificates: certified.TLS.Certificates})}
	if _, err := gateway.start(t, tollgate.WithTLS(&tls.Config{RootCAs: trusted})).Keys.Get(t.Context(), ""); err != nil {
		t.Error(err)
	}
	stranger := &scripted{transport: gateway.transport}
	_, err := stranger.start(t).Complete(t.Context(), tollgate.NewRequest("m"))
	var unavailable *tollgate.Unavailable
	if !errors.As(err, &unavailable) || len(stranger.of("CreateCompletion")) != 0 {
		t.Errorf("%v", err)
	}
}

func TestSettingsOfTLSForAnAddressWithoutItAreAMistake(t *testing.T) {
	t.Parallel()
	if _, err := tollgate.New(tollgate.WithAddress("http://127.0.0.1:4000"), tollgate.WithTLS(&tls.Config{})); err == nil {
		t.Error("the key would have gone in the clear")
	}
}
