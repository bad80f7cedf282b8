#!/usr/bin/env bash
# Everything that `make test` runs, from a fresh clone on a fresh machine.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh test
scripts/build-images.sh
scripts/foreign-clients.sh
# Always the whole workspace, so that there is one set of features and each dependency is compiled once. The
# programs that whole clusters are made of are built first. Those tests take turns by themselves.
cargo build --workspace --all-targets
cargo test --workspace --no-fail-fast
