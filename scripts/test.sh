#!/usr/bin/env bash
# Everything that `make test` runs, from a fresh clone on a fresh machine.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh test
scripts/build-images.sh
scripts/foreign-clients.sh
# One feature set for everything, so that each dependency is compiled once.
cargo build --workspace --all-targets
# Whole clusters are heavy: they run one at a time, after the rest.
cargo test --workspace --exclude gantry-tests --no-fail-fast
cargo test -p gantry-tests --no-fail-fast -- --test-threads=1
