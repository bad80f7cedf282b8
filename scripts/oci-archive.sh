#!/usr/bin/env bash
# Turns an image archive of docker's format with one layer, as make-image.sh makes them, into one of OCI's:
#   oci-archive.sh DOCKER.tar NAME:TAG OUT.tar
set -euo pipefail

docker=$1 name=$2 out=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/docker" "$work/oci/blobs/sha256"
tar -C "$work/docker" -xf "$docker"

# blob FILE MEDIA-TYPE: puts it among the blobs, and prints its descriptor without the closing brace.
blob() {
    local digest
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    cp "$1" "$work/oci/blobs/sha256/$digest"
    printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s' "$2" "$digest" "$(stat -c %s "$1")"
}

config=$(blob "$(ls "$work"/docker/*.json | grep -v manifest.json)" config.v1+json)
layer=$(blob "$(ls "$work"/docker/*/layer.tar)" layer.v1.tar)
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s},"layers":[%s}]}' \
    "$config" "$layer" >"$work/manifest"
printf '{"schemaVersion":2,"manifests":[%s,"annotations":{"org.opencontainers.image.ref.name":"%s"}}]}' \
    "$(blob "$work/manifest" manifest.v1+json)" "$name" >"$work/oci/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/oci/oci-layout"
tar -C "$work/oci" -cf "$out" .
