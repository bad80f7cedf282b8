#!/usr/bin/env bash
# Builds the images of docker-compose.yml where no registry can be reached: the same Dockerfile, on a base made by
# debootstrap from the mirror that this machine's apt uses, with programs that cargo has built here already.
#   images.sh [FOLDER-OF-BINARIES]      default: target/debug
# Needs root, debootstrap and Docker with BuildKit: other builders also run the stage that these images leave out.
# DOCKER is the client to use; else it is the first of those on the PATH that can.
set -euo pipefail
cd "$(dirname "$0")/.."
binaries=${1:-${CARGO_TARGET_DIR:-target}/debug}
# Of Debian 13 for its etcd, which is new enough, and its containerd.
suite=trixie
base=gantry-base:$suite
programs=gantry-programs:local
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "images: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "run as root: debootstrap needs it"
command -v debootstrap >/dev/null || fail "debootstrap is not installed (apt-get install debootstrap)"
# Clients from version 23 on have BuildKit in a plugin of its own.
has_buildkit() {
    [ "$("$1" version --format '{{.Client.Version}}' 2>/dev/null | cut -d. -f1)" -lt 23 ] 2>/dev/null ||
        "$1" buildx version >/dev/null 2>&1
}
docker=
for candidate in ${DOCKER:-$(type -ap docker)}; do
    ! has_buildkit "$candidate" || { docker=$candidate && break; }
done
[ -n "$docker" ] || fail "no docker that can use BuildKit is on the PATH (apt-get install docker.io, and docker-buildx where there is one)"
"$docker" version >/dev/null || fail "no Docker Engine answers"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

id_of() {
    "$docker" image inspect --format '{{.Id}}' "$1" 2>/dev/null || true
}

if [ -z "$(id_of "$base")" ]; then
    # apt knows every form of sources file.
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    mirror=$(apt-get update --print-uris | sed -nE "s#^'(.*)/dists/$codename/InRelease'.*#\1#p" | head -n 1)
    [ -n "$mirror" ] || fail "apt on this machine has no source for $codename to take the mirror's address from"
    echo "images: $base from $mirror"
    # It fetches with wget, which knows of proxies from its environment only.
    (
        eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
        [ "${http_proxy:-}" != DIRECT ] || unset http_proxy
        [ "${https_proxy:-}" != DIRECT ] || unset https_proxy
        export http_proxy https_proxy
        exec debootstrap --variant=minbase --keyring="$keyring" "$suite" "$work/base" "$mirror" >"$work/log"
    ) || { tail -n 20 "$work/log" >&2; fail "debootstrap failed"; }
    # What this machine's apt was told about proxies holds for its mirror in the image, too.
    apt-config dump | grep -E '^Acquire::(http|https)::Proxy' >"$work/base/etc/apt/apt.conf.d/90proxy" || true
    # What Debian's own image does to stay small: apt keeps nothing, and dpkg unpacks no documentation.
    cat >"$work/base/etc/apt/apt.conf.d/90small" <<'APT'
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };
APT
    printf 'path-exclude /usr/share/%s/*\n' doc man locale info >"$work/base/etc/dpkg/dpkg.cfg.d/90small"
    rm -rf "$work"/base/var/cache/apt/* "$work"/base/var/lib/apt/lists/* \
        "$work"/base/usr/share/{doc,man,locale,info}/*
    tar -C "$work/base" -c . | "$docker" import - "$base" >/dev/null
fi

before=$(id_of "$programs")
deploy/compose/programs.sh "$binaries" "$work/programs"
tar -C "$work/programs" -c . | "$docker" import - "$programs" >/dev/null
for target in etcd control-plane node prometheus cli; do
    echo "images: gantry-$target"
    DOCKER_BUILDKIT=1 "$docker" build --quiet --network host --build-arg DEBIAN="$base" \
        --build-arg PROGRAMS="$programs" --target $target --tag gantry-$target . >"$work/log" 2>&1 ||
        { tail -n 40 "$work/log" >&2; fail "gantry-$target was not built"; }
done
# What an earlier run has made of other programs is of no more use.
[ -z "$before" ] || [ "$before" = "$(id_of "$programs")" ] || "$docker" image rm "$before" >/dev/null || true
