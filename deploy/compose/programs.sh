#!/bin/sh
# Gathers what the images are made of, as the Dockerfile's stages expect it:
#   programs.sh FOLDER-OF-BINARIES OUT     OUT/bin gets the programs, OUT/images the image archives
set -eu
cd "$(dirname "$0")/../.."
from=$1 out=$2

mkdir -p "$out/bin" "$out/images"
for name in gantry gantry-apiserver gantry-scheduler gantry-controller-manager gantry-node-agent \
    gantry-cni gantry-proxy; do
    # Names of functions are for debuggers; without them a program is a fraction of its size.
    strip -o "$out/bin/$name" "$from/$name"
done
scripts/build-images.sh
cp target/images/*.tar "$out/images/"
