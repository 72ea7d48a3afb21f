# Sourced by `generate` and `check`: the generators and linters at the versions of tools/go.mod, and buf, on the PATH.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
go=$root/clients/go
bin=$root/.cache/go/bin

have_tools() {
    local stamp
    stamp=$bin/.tools-$(cat "$go/tools/go.mod" "$go/tools/go.sum" | sha256sum | cut -c1-16)
    if [[ ! -e $stamp ]]; then
        rm -rf "$bin"
        mkdir -p "$bin"
        (cd "$go/tools" && GOBIN=$bin GOFLAGS=-mod=readonly go install tool)
        touch "$stamp"
    fi
    [[ -x $root/tests/clients/node/node_modules/.bin/buf ]] ||
        (cd "$root/tests/clients/node" && npm ci --no-fund --no-audit --loglevel=error)
    export PATH=$bin:$root/tests/clients/node/node_modules/.bin:$PATH
}
