#!/bin/sh
# Makes the cluster's certificates, keys and kubeconfigs in /pki; what is there already is kept.
#   init.sh NODE=ADDRESS...
set -eu

gantry init --dir /pki --server https://apiserver:6443
for node in "$@"; do
    gantry init node "${node%%=*}" --dir /pki --address "${node##*=}"
done
