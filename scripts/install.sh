#!/usr/bin/env bash
# Installs, from Debian's packages, what is missing to build, run and test Gantry. Says what it does; does
# nothing where all is there. Needs root.
set -euo pipefail
cd "$(dirname "$0")/.."

# What is looked for, and the package that has it.
wanted=(
    "command:containerd containerd"
    "command:runc runc"
    "file:/usr/lib/cni/bridge containernetworking-plugins"
    "command:nft nftables"
    "command:protoc protobuf-compiler"
    "file:/usr/include/google/protobuf/descriptor.proto libprotobuf-dev"
    "command:ip iproute2"
    "command:busybox busybox-static"
    "command:cc gcc"
    "command:curl curl"
)
[ "${1:-}" = test ] && wanted+=(
    "command:debootstrap debootstrap"
    "command:python3 python3"
    "command:kubectl kubernetes-client"
    "file:/usr/sbin/dockerd docker.io"
    "command:docker-compose docker-compose"
)
if [ "${1:-}" = test ] && ! python3 -c 'import ensurepip' 2>/dev/null; then
    wanted+=("file:/nowhere python3-venv")
fi

missing=()
for row in "${wanted[@]}"; do
    what=${row%% *} package=${row##* }
    case $what in
        command:*) command -v "${what#command:}" >/dev/null 2>&1 || missing+=("$package") ;;
        file:*) [ -e "${what#file:}" ] || missing+=("$package") ;;
    esac
done

if [ ${#missing[@]} -gt 0 ]; then
    [ "$(id -u)" = 0 ] || { echo "run as root to install: ${missing[*]}" >&2; exit 1; }
    echo "installing ${missing[*]}"
    apt-get update -qq
    # Packages that bring a daemon must not start it: Gantry starts its own, with its own configuration.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
scripts/install-etcd.sh
