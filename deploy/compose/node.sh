#!/bin/bash
# The main process of a node's container: runs containerd, the node agent and the proxy, starts again what ends,
# and on SIGTERM ends the pods.
# Environment: NODE_NAME, NODE_IP.
set -u

# The pods' cgroups are below this container's own: its limits hold for them, and they go when it goes. For that the
# container needs a view in which its own cgroup is the root, which Docker gives by itself on cgroup v2 only.
[ -n "${GANTRY_CGROUP_ROOT:-}" ] || GANTRY_CGROUP_ROOT=own exec unshare --cgroup "$0" "$@"

home=/var/lib/gantry
socket=/run/containerd/containerd.sock
pki=/pki/nodes/$NODE_NAME

agent=(
    --node-name="$NODE_NAME" --node-ip="$NODE_IP" --kubeconfig="$pki/kubeconfig"
    --tls-cert="$pki/tls.crt" --tls-key="$pki/tls.key" --ca=/pki/ca.crt
    --containerd="$socket" --root-dir="$home/agent" --cni-conf-dir="$home/cni/net.d"
    --pause-image=/usr/share/gantry/images/pause.tar
)
proxy=(
    --node-name="$NODE_NAME" --node-ip="$NODE_IP" --kubeconfig="$pki/proxy.kubeconfig"
    --tls-cert="$pki/proxy.crt" --tls-key="$pki/proxy.key" --ca=/pki/ca.crt
)

# keep COMMAND...: in the background; started again one second after it ends, until SIGTERM.
keep() {
    (
        stopping= child=
        trap 'stopping=yes; [ -z "$child" ] || kill "$child" 2>/dev/null' TERM
        while [ -z "$stopping" ]; do
            "$@" &
            child=$!
            # The signal may have come since the loop asked.
            [ -z "$stopping" ] || kill "$child" 2>/dev/null
            wait "$child"
            status=$?
            # The signal interrupts the first wait; the program is still ending then.
            [ -z "$stopping" ] || { wait "$child"; break; }
            echo "node: ${1##*/} ended with status $status and is started again" >&2
            sleep 1
        done
    ) &
}

stop() {
    kill "$agent_id" "$proxy_id"
    wait "$agent_id" "$proxy_id"
    gantry-node-agent cleanup "${agent[@]}"
    kill "$containerd_id"
    wait "$containerd_id"
    exit 0
}

mount_cgroups() {
    local processes process hierarchies controllers path name alias
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        # A cgroup with processes in it can give nothing to cgroups below it.
        mkdir -p /sys/fs/cgroup/node
        # All at once: the list grows shorter while it is read.
        mapfile -t processes </sys/fs/cgroup/cgroup.procs
        for process in "${processes[@]}"; do
            echo "$process" >/sys/fs/cgroup/node/cgroup.procs || true
        done
        sed -e 's/\(^\| \)/&+/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
        return
    fi
    hierarchies=$(cat /proc/self/cgroup)
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    while IFS=: read -r _ controllers path; do
        case $controllers in
            "") continue ;;
            name=*) name=${controllers#name=} controllers=none,$controllers ;;
            *) name=$controllers ;;
        esac
        mkdir "/sys/fs/cgroup/$name"
        mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/$name"
        for alias in ${name//,/ }; do
            [ -e "/sys/fs/cgroup/$alias" ] || ln -s "$name" "/sys/fs/cgroup/$alias"
        done
    done <<<"$hierarchies"
}

# The first process ignores a signal that it has not asked for, and would be killed half a minute later. Until the agent
# runs there is nothing to clean up.
trap 'exit 0' TERM INT
mount_cgroups
# Docker mounts it read-only where a container is not privileged; the agent and the CNI plugins set the
# switches of this container's own network there.
mount -o remount,rw /proc/sys

# What an earlier run of this container left is of no use: its processes ended with it.
rm -rf /run/containerd
mkdir -p "$home/agent" "$home/cni/net.d" /run/containerd
/usr/local/lib/gantry/containerd-config.sh "$home/containerd" /run/containerd "$socket" "$home/cni/net.d" \
    >/run/containerd/config.toml
keep containerd --log-level warn --config /run/containerd/config.toml
containerd_id=$!
until [ -S "$socket" ]; do sleep 0.1; done
# The sample's images, so that it runs where no registry can be reached.
for archive in /usr/share/gantry/images/hello-*.tar /usr/share/gantry/images/busybox.tar; do
    ctr --address "$socket" --namespace k8s.io images import "$archive" >/dev/null
done
keep gantry-node-agent "${agent[@]}"
agent_id=$!
keep gantry-proxy "${proxy[@]}"
proxy_id=$!
trap stop TERM INT
# Waiting also reaps what containerd's shims leave behind. A signal interrupts it.
while :; do wait; done
