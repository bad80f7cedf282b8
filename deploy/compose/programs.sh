#!/bin/sh
# Gathers what the images are made of, as the Dockerfile's stages expect it:
#   programs.sh FOLDER-OF-BINARIES OUT     OUT/bin gets the programs, OUT/images the image archives
set -eu
cd "$(dirname "$0")/../.."
from=$1 out=$2

mkdir -p "$out/bin"
for name in gantry gantry-apiserver gantry-scheduler gantry-controller-manager gantry-node-agent gantry-proxy; do
    cp "$from/$name" "$out/bin/"
done
scripts/build-images.sh "$out/images"
[ -e "$out/images/pause.tar" ] || scripts/build-pause.sh "$out/images/pause.tar"
