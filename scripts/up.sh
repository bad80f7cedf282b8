#!/usr/bin/env bash
# Starts a one-node cluster of separate services on etcd, deploys the sample, and says how to reach it.
# What runs already is left alone. State is in GANTRY_HOME (default /var/lib/gantry).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/local.sh

[ "$(id -u)" = 0 ] || { echo "make up needs root: it starts containers" >&2; exit 1; }
mkdir -p "$home" "$run" "$logs"

address=$(ip -4 -o route get 192.0.2.1 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p')
address=${address:-127.0.0.1}
"$bin/gantry" init --dir "$pki" --san "$address" >/dev/null
"$bin/gantry" init node "$node" --dir "$pki" --address "$address" >/dev/null

say "etcd"
start etcd etcd --name=gantry --data-dir="$home/etcd" --log-level=warn \
    --listen-client-urls=https://127.0.0.1:2379 --advertise-client-urls=https://127.0.0.1:2379 \
    --listen-peer-urls=https://127.0.0.1:2380 --initial-advertise-peer-urls=https://127.0.0.1:2380 \
    --initial-cluster=gantry=https://127.0.0.1:2380 \
    --cert-file="$pki/etcd/server.crt" --key-file="$pki/etcd/server.key" \
    --trusted-ca-file="$pki/etcd/ca.crt" --client-cert-auth \
    --peer-cert-file="$pki/etcd/server.crt" --peer-key-file="$pki/etcd/server.key" \
    --peer-trusted-ca-file="$pki/etcd/ca.crt" --peer-client-cert-auth

say "apiserver"
start apiserver "$bin/gantry-apiserver" --listen=0.0.0.0:6443 \
    --tls-cert="$pki/apiserver/tls.crt" --tls-key="$pki/apiserver/tls.key" --client-ca="$pki/ca.crt" \
    --etcd-endpoints=https://127.0.0.1:2379 --etcd-ca="$pki/etcd/ca.crt" \
    --etcd-cert="$pki/etcd/client.crt" --etcd-key="$pki/etcd/client.key" \
    --kubelet-client-cert="$pki/apiserver/kubelet-client.crt" \
    --kubelet-client-key="$pki/apiserver/kubelet-client.key"
wait_for "the apiserver" 60 apiserver curl -sf --cacert "$pki/ca.crt" https://127.0.0.1:6443/readyz -o /dev/null

say "scheduler, controller-manager"
for component in scheduler controller-manager; do
    start $component "$bin/gantry-$component" --kubeconfig="$pki/$component/kubeconfig" \
        --tls-cert="$pki/$component/tls.crt" --tls-key="$pki/$component/tls.key" --ca="$pki/ca.crt"
done

say "containerd, node-agent, proxy"
mkdir -p "$home/node"
scripts/containerd-config.sh "$home/node/root" "$home/node/state" "$home/node/containerd.sock" \
    "$home/node/cni/net.d" >"$home/containerd.toml"
start containerd containerd --config "$home/containerd.toml"
wait_for "containerd" 30 containerd test -S "$home/node/containerd.sock"
start node-agent "$bin/gantry-node-agent" "${node_agent_arguments[@]}" --node-ip="$address"
start proxy "$bin/gantry-proxy" "${proxy_arguments[@]}" --node-ip="$address"

mkdir -p ~/.gantry
[ -e ~/.gantry/config ] && ! cmp -s "$pki/admin/kubeconfig" ~/.gantry/config && cp ~/.gantry/config ~/.gantry/config.before
install -m 600 "$pki/admin/kubeconfig" ~/.gantry/config
ln -sf "$bin/gantry" "$link"

wait_for "the node" 60 node-agent sh -c "'$bin/gantry' get nodes --no-headers 2>/dev/null | grep -qw Ready"
say "the sample"
for image in hello-1 hello-2 busybox; do
    "$bin/gantry" image import "target/images/$image.tar" >/dev/null
done
"$bin/gantry" apply -f examples/web.yaml
"$bin/gantry" rollout status deployment/web

service=$("$bin/gantry" get service web --no-headers | awk '{print $3}')
cat <<END

The cluster is up. gantry is on the PATH and finds it:
    gantry get nodes
    gantry get pods -o wide
    curl http://$service/
Logs are in $logs; make down removes everything.
END
