#!/bin/sh
# Builds the sandbox image from node-agent/pause/pause.c as a docker archive, which the node agent imports at
# its start (--pause-image): no registry is needed.
#
# usage: build-pause.sh OUTPUT.tar
set -eu

output=${1:?usage: build-pause.sh OUTPUT.tar}
name=${PAUSE_IMAGE:-gantry.local/pause:1}
source=$(dirname "$0")/../node-agent/pause/pause.c
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) architecture=$(uname -m) ;;
esac

mkdir "$work/root" "$work/image"
${CC:-cc} -static -Os -Wall -Wextra -o "$work/root/pause" "$source"
strip "$work/root/pause" 2>/dev/null || true

# The same input gives the same bytes, so that an unchanged image is not imported again.
archive() {
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$1" -cf "$2" .
}

archive "$work/root" "$work/image/layer.tar"
layer=$(sha256sum "$work/image/layer.tar" | cut -d' ' -f1)
printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$architecture" "$layer" > "$work/image/config.json"
printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" > "$work/image/manifest.json"
mkdir -p "$(dirname "$output")"
archive "$work/image" "$output"
