#!/usr/bin/env bash
# Stops the local cluster and removes everything that it made: processes, containers, mounts, network
# namespaces, cgroups, nftables, the bridge, routes, and its folder.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/local.sh

stop proxy
stop node-agent
if is_running containerd; then
    "$bin/gantry-node-agent" cleanup "${node_agent_arguments[@]}"
fi
[ -x "$bin/gantry-proxy" ] && "$bin/gantry-proxy" cleanup "${proxy_arguments[@]}"
for name in containerd controller-manager scheduler apiserver etcd; do
    stop $name
done
cmp -s "$pki/admin/kubeconfig" ~/.gantry/config 2>/dev/null && rm -f ~/.gantry/config
[ -e ~/.gantry/config.before ] && mv ~/.gantry/config.before ~/.gantry/config
[ "$(readlink "$link" 2>/dev/null)" = "$bin/gantry" ] && rm -f "$link"
rm -rf "$home"
echo "the cluster is gone"
