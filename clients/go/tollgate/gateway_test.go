//go:build gateway

package tollgate_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"tollgate.dev/clients/go/tollgate"
	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// A gateway of the tests' own with its simulated provider: where it listens, and its two keys.
type gateway struct {
	address, key, adminKey string
}

var started = sync.OnceValues(startGateway)

var ended []func()

func TestMain(m *testing.M) {
	code := m.Run()
	for _, end := range ended {
		end()
	}
	os.Exit(code)
}

func startGateway() (*gateway, error) {
	program := os.Getenv("TOLLGATE_BIN")
	if program == "" {
		program = filepath.Join("..", "..", "..", "target", "debug", "tollgate")
	}
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(program); err != nil {
		return nil, errors.New("build the gateway first, `cargo build -p tollgate --bins`, or set TOLLGATE_BIN: " + err.Error())
	}
	home, err := os.MkdirTemp("", "tollgate-go-")
	if err != nil {
		return nil, err
	}
	command := exec.Command(program, "serve", "--listen", "127.0.0.1:0")
	command.Dir, command.Stderr = home, os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	ended = append(ended, func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = os.RemoveAll(home)
	})
	listens := regexp.MustCompile(`listens on (http://\S+)`)
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if found := listens.FindStringSubmatch(lines.Text()); found != nil {
			go func() { // what it writes further is read, so that it is not held up
				for lines.Scan() {
				}
			}()
			key, err := os.ReadFile(filepath.Join(home, "tollgate-data", "demo.key"))
			if err != nil {
				return nil, err
			}
			admin, err := os.ReadFile(filepath.Join(home, "tollgate-data", "admin.key"))
			return &gateway{found[1], strings.TrimSpace(string(key)), strings.TrimSpace(string(admin))}, err
		}
	}
	return nil, errors.New("the gateway ended without saying where it listens")
}

func (g *gateway) client(t *testing.T, key string) *tollgate.Client {
	t.Helper()
	client, err := tollgate.New(tollgate.WithAddress(g.address), tollgate.WithKey(key))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func theGateway(t *testing.T) *gateway {
	t.Helper()
	gateway, err := started()
	if err != nil {
		t.Fatal(err)
	}
	return gateway
}

func TestARealAnswerIsTheSameWholeAndStreamed(t *testing.T) {
	t.Parallel()
	gateway := theGateway(t)
	client := gateway.client(t, gateway.key)
	request := tollgate.NewRequest("demo", tollgate.User("Say hello"))
	whole, err := client.Complete(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	streamed, err := client.Stream(t.Context(), request).Final()
	if err != nil {
		t.Fatal(err)
	}
	if whole.Text() == "" || whole.Text() != streamed.Text() || streamed.FinishReason() != v1.FinishReason_FINISH_REASON_STOP ||
		streamed.GetUsage().GetOutput().GetTotal() != whole.GetUsage().GetOutput().GetTotal() {
		t.Errorf("%v\n%v", whole, streamed)
	}
}

func TestARealModelEmbedsEachText(t *testing.T) {
	t.Parallel()
	gateway := theGateway(t)
	vectors, err := gateway.client(t, gateway.key).Embeddings.Texts(t.Context(), "demo-embed", "one", "two")
	if err != nil || len(vectors) != 2 || len(vectors[0]) == 0 {
		t.Fatal(vectors, err)
	}
	length := 0.0
	for _, value := range vectors[0] {
		length += float64(value) * float64(value)
	}
	if math.IsNaN(length) || length == 0 {
		t.Error(vectors[0])
	}
}

func TestARealRefusalHasItsType(t *testing.T) {
	t.Parallel()
	gateway := theGateway(t)
	client := gateway.client(t, gateway.key)
	_, err := client.Complete(t.Context(), tollgate.NewRequest("no-such-model", tollgate.User("hi")))
	var unknown *tollgate.ModelNotFound
	if !errors.As(err, &unknown) || unknown.Model != "no-such-model" || unknown.Reason != "MODEL_NOT_FOUND" || unknown.RequestID == "" {
		t.Errorf("%#v", err)
	}
	_, err = gateway.client(t, "").Keys.Get(t.Context(), "")
	var nobody *tollgate.Unauthenticated
	if !errors.As(err, &nobody) || nobody.Reason != "API_KEY_MISSING" {
		t.Errorf("%#v", err)
	}
}

func TestNobodyAnswersIsUnavailable(t *testing.T) {
	t.Parallel()
	client, err := tollgate.New(tollgate.WithAddress("http://127.0.0.1:1"), tollgate.WithKey("tg-test"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	_, err = client.Complete(t.Context(), tollgate.NewRequest("demo"))
	var away *tollgate.Unavailable
	if !errors.As(err, &away) {
		t.Errorf("%#v", err)
	}
}

func TestTheExamplesRun(t *testing.T) {
	t.Parallel()
	gateway := theGateway(t)
	programs := t.TempDir()
	if output, err := exec.Command("go", "build", "-o", programs, "../examples/...").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for name, one := range map[string]struct{ key, writes string }{
		"streaming": {gateway.key, `FINISH_REASON_STOP by \S+, [1-9]\d* tokens, \d+ nano-dollars`},
		"tools":     {gateway.key, `\w`},
		"admin":     {gateway.adminKey, `the team has spent [1-9]\d* of 5000000000 nano-dollars\ncrawler KEY_STATE_REVOKED`},
		"audit":     {gateway.adminKey, `1 [\d:.]+ \w+\.\w+`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			output := runExample(t, filepath.Join(programs, name), gateway, one.key, name == "audit")
			if !regexp.MustCompile(one.writes).MatchString(output) {
				t.Errorf("%s wrote:\n%s", name, output)
			}
		})
	}
}

func TestThePackedModuleRunsTheReadmesFirstCallInAnEmptyModule(t *testing.T) {
	t.Parallel()
	gateway := theGateway(t)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, filepath.Join("..", "try-package"))
	command.Env = append(os.Environ(), "TOLLGATE_ADDRESS="+gateway.address, "TOLLGATE_API_KEY="+gateway.key)
	output, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "Say hello") { // which the simulated model repeats
		t.Errorf("%v\n%s", err, output)
	}
}

// What a program writes; one without an end is interrupted after its first line, and ends well.
func runExample(t *testing.T, program string, gateway *gateway, key string, endless bool) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, program)
	command.Env = append(os.Environ(), "TOLLGATE_ADDRESS="+gateway.address, "TOLLGATE_API_KEY="+key)
	var failure bytes.Buffer
	command.Stderr = &failure
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var written strings.Builder
	for lines := bufio.NewScanner(output); lines.Scan(); {
		written.WriteString(lines.Text() + "\n")
		if endless {
			_ = command.Process.Signal(os.Interrupt)
		}
	}
	if err := command.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", program, err, failure.String())
	}
	return written.String()
}
