# What the scripts of the local cluster share. Sourced, from the project's folder.

home=${GANTRY_HOME:-/var/lib/gantry}
run=$home/run
logs=$home/log
pki=$home/pki
bin=$PWD/${CARGO_TARGET_DIR:-target}/debug
case ${CARGO_TARGET_DIR:-} in /*) bin=$CARGO_TARGET_DIR/debug ;; esac
node=${GANTRY_NODE:-$(hostname | tr 'A-Z' 'a-z')}
# Where people find the command and its configuration.
link=${GANTRY_LINK:-/usr/local/bin/gantry}

node_agent_arguments=(
    --node-name="$node" --kubeconfig="$pki/nodes/$node/kubeconfig"
    --containerd="$home/node/containerd.sock" --root-dir="$home/node/agent" --cni-conf-dir="$home/node/cni/net.d"
    --tls-cert="$pki/nodes/$node/tls.crt" --tls-key="$pki/nodes/$node/tls.key" --ca="$pki/ca.crt"
    --pause-image="$PWD/target/images/pause.tar"
)
proxy_arguments=(
    --node-name="$node" --kubeconfig="$pki/nodes/$node/proxy.kubeconfig"
    --tls-cert="$pki/nodes/$node/proxy.crt" --tls-key="$pki/nodes/$node/proxy.key" --ca="$pki/ca.crt"
)

say() { printf '== %s\n' "$*"; }

is_running() { [ -e "$run/$1.pid" ] && kill -0 "$(cat "$run/$1.pid")" 2>/dev/null; }

# start NAME COMMAND...: in the background, with its log and its process id in files.
start() {
    local name=$1
    shift
    is_running "$name" && return
    setsid nohup "$@" >>"$logs/$name.log" 2>&1 </dev/null &
    echo $! >"$run/$name.pid"
}

# stop NAME: SIGTERM, and SIGKILL after ten seconds.
stop() {
    local name=$1 id
    is_running "$name" || { rm -f "$run/$name.pid"; return 0; }
    id=$(cat "$run/$name.pid")
    kill "$id"
    for _ in $(seq 100); do
        kill -0 "$id" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$id" 2>/dev/null || true
    rm -f "$run/$name.pid"
}

# wait_for WHAT SECONDS PROCESS COMMAND...: until the command succeeds; shows the process's log when it does not.
wait_for() {
    local what=$1 seconds=$2 process=$3
    shift 3
    for _ in $(seq $((seconds * 10))); do
        "$@" && return
        is_running "$process" || break
        sleep 0.1
    done
    echo "$what did not become ready; the end of $logs/$process.log:" >&2
    tail -n 20 "$logs/$process.log" >&2
    return 1
}
