#!/usr/bin/env bash
# Builds the images of docker-compose.yml where no registry can be reached: the same Dockerfile, on a base made by
# debootstrap from the mirror that this machine's apt uses, with programs that cargo has built here already.
#   images.sh [FOLDER-OF-BINARIES]      default: target/debug
# Needs root, debootstrap and Docker with BuildKit: other builders also run the stage that these images leave out.
set -euo pipefail
cd "$(dirname "$0")/.."
binaries=${1:-${CARGO_TARGET_DIR:-target}/debug}
# Of Debian 13 for its etcd, which is new enough, and its containerd.
suite=trixie
base=gantry-base:$suite
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "images: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "run as root: debootstrap needs it"
command -v debootstrap >/dev/null || fail "debootstrap is not installed (apt-get install debootstrap)"
docker version >/dev/null || fail "no Docker Engine answers"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! docker image inspect "$base" >/dev/null 2>&1; then
    # apt knows every form of sources file.
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    mirror=$(apt-get update --print-uris | sed -nE "s#^'(.*)/dists/$codename/InRelease'.*#\1#p" | head -n 1)
    [ -n "$mirror" ] || fail "apt on this machine has no source for $codename to take the mirror's address from"
    echo "images: $base from $mirror"
    debootstrap --variant=minbase --keyring="$keyring" "$suite" "$work/base" "$mirror" >"$work/log" ||
        { tail -n 20 "$work/log" >&2; fail "debootstrap failed"; }
    # What this machine's apt was told about proxies holds for its mirror in the image, too.
    apt-config dump | grep -E '^Acquire::(http|https)::Proxy' >"$work/base/etc/apt/apt.conf.d/90proxy" || true
    rm -rf "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/*
    tar -C "$work/base" -c . | docker import - "$base" >/dev/null
fi

deploy/compose/programs.sh "$binaries" "$work/programs"
tar -C "$work/programs" -c . | docker import - gantry-programs:local >/dev/null
for target in etcd control-plane node cli; do
    echo "images: gantry-$target"
    DOCKER_BUILDKIT=1 docker build --quiet --network host --build-arg DEBIAN="$base" \
        --build-arg PROGRAMS=gantry-programs:local --target $target --tag gantry-$target . >/dev/null
done
