#!/usr/bin/env bash
# Builds the images that the sample and the tests run, into FOLDER (default target/images):
#   hello-1.tar, hello-2.tar   the sample application, in two versions
#   pause.tar                  the sandbox of every pod
#   busybox.tar                Debian's static busybox, for shells inside the cluster
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/images}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ ! -e "$out/hello-2.tar" ] || [ examples/hello/main.rs -nt "$out/hello-2.tar" ] || [ scripts/make-image.sh -nt "$out/hello-2.tar" ]; then
    mkdir -p "$work/hello"
    rustc --edition 2024 -O -C target-feature=+crt-static -C strip=symbols -o "$work/hello/hello" examples/hello/main.rs
    IMAGE_ENV="VERSION=1" scripts/make-image.sh hello:1 "$work/hello" "$out/hello-1.tar" /hello
    IMAGE_ENV="VERSION=2" scripts/make-image.sh hello:2 "$work/hello" "$out/hello-2.tar" /hello
fi
if [ ! -e "$out/pause.tar" ] || [ node-agent/pause/pause.c -nt "$out/pause.tar" ]; then
    scripts/build-pause.sh "$out/pause.tar"
fi
if [ ! -e "$out/busybox.tar" ]; then
    mkdir -p "$work/busybox/bin" "$work/busybox/tmp" "$work/busybox/etc"
    cp "$(command -v busybox)" "$work/busybox/bin/busybox"
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$work/busybox/bin/$applet"
    done
    scripts/make-image.sh busybox:1 "$work/busybox" "$out/busybox.tar" /bin/sh
fi
