#!/bin/sh
# Makes the cluster's certificates, keys and kubeconfigs in /pki, where what is there already is kept, and gives each
# service what it needs of them, in /share, and the administrator of this machine, in /access.
#   init.sh NODE=ADDRESS...
set -eu

# The components' names are valid for all of them: two of a kind have one certificate.
gantry init --dir /pki --server https://apiserver-1:6443 --server https://apiserver-2:6443 \
    --san scheduler-1 --san scheduler-2 --san controller-manager-1 --san controller-manager-2
cd /pki

# share SERVICE FILE...
share() {
    folder=/share/$1
    shift
    cp -R --parents "$@" "$folder"
    chown -R gantry:gantry "$folder"
}
share etcd etcd/ca.crt etcd/server.crt etcd/server.key
share apiserver ca.crt apiserver etcd/ca.crt etcd/client.crt etcd/client.key
share scheduler ca.crt scheduler
share controller-manager ca.crt controller-manager
share prometheus ca.crt prometheus
share cli ca.crt admin
for node in "$@"; do
    name=${node%%=*}
    gantry init node "$name" --dir /pki --address "${node##*=}"
    share "$name" ca.crt "nodes/$name"
done

# From outside of the cluster's network the apiservers are at this machine's ports.
cp ca.crt admin/tls.crt admin/tls.key /access/
sed -e 's#https://apiserver-1:6443#https://127.0.0.1:6443#' -e 's#https://apiserver-2:6443#https://127.0.0.1:6444#' \
    admin/kubeconfig >/access/kubeconfig
chmod 600 /access/kubeconfig /access/tls.key
chown "$(stat -c %u:%g /access)" /access/kubeconfig /access/*.crt /access/tls.key
