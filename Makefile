# Two commands do everything on a fresh Debian machine that has cargo and root: make up, make test.

.PHONY: up down build images sample-images install test lint bench

up: install build sample-images
	scripts/up.sh

down:
	scripts/down.sh

install:
	scripts/install.sh

build:
	cargo build --workspace --bins

# What the sample and the tests run.
sample-images:
	scripts/build-images.sh

# The images of docker-compose.yml where no registry can be reached: docs/compose.md.
images: build
	scripts/images.sh

# Everything: lints, unit and golden tests, the store suite on a real etcd, whole clusters on real containerd.
test:
	scripts/test.sh

# With optimised programs, which takes a while to build.
bench: install sample-images
	cargo build --release --workspace --bins
	cargo run --release --workspace --bin gantry-bench

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
