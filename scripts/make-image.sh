#!/usr/bin/env bash
# Makes an image archive (docker's format) from a folder, with nothing but coreutils and tar:
#   make-image.sh NAME:TAG ROOT-FOLDER OUT.tar COMMAND [ARGUMENT...]
# Environment: IMAGE_ENV="A=b C=d" adds variables. The archive is the same for the same input.
set -euo pipefail

name=$1 root=$2 out=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

json_list() {
    local first=1
    printf '['
    for word in "$@"; do
        [ $first = 1 ] || printf ','
        first=0
        word=${word//\\/\\\\}
        printf '"%s"' "${word//\"/\\\"}"
    done
    printf ']'
}

mkdir "$work/layer"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$root" -cf "$work/layer/layer.tar" .
layer=$(sha256sum "$work/layer/layer.tar" | cut -d' ' -f1)
mv "$work/layer" "$work/$layer"

variables=$(json_list "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" ${IMAGE_ENV:-})
printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z","config":{"Env":%s,"Entrypoint":%s},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"1970-01-01T00:00:00Z"}]}' \
    "$(dpkg --print-architecture)" "$variables" "$(json_list "$@")" "$layer" >"$work/config"
config=$(sha256sum "$work/config" | cut -d' ' -f1)
mv "$work/config" "$work/$config.json"
printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s/layer.tar"]}]' "$config" "$name" "$layer" >"$work/manifest.json"

mkdir -p "$(dirname "$out")"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work" -cf "$out.new" manifest.json "$config.json" "$layer"
mv "$out.new" "$out"
