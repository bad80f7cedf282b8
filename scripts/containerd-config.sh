#!/bin/sh
# Writes a configuration for containerd 1.6 or newer, with everything of it below one folder: several
# containerds can run beside each other and beside the system's.
#
# usage: containerd-config.sh ROOT_DIR STATE_DIR SOCKET CNI_CONF_DIR > config.toml
#
# CNI_BIN_DIR, PAUSE_IMAGE and RUNTIME_BINARY (runc, or a path such as /usr/bin/crun) can be set.
set -eu

usage="usage: containerd-config.sh ROOT_DIR STATE_DIR SOCKET CNI_CONF_DIR"
root=${1:?$usage}
state=${2:?$usage}
socket=${3:?$usage}
cni_conf=${4:?$usage}
cni_bin=${CNI_BIN_DIR:-/usr/lib/cni}
pause=${PAUSE_IMAGE:-gantry.local/pause:1}
runtime=${RUNTIME_BINARY:-}

cat <<CONFIG
version = 2
root = "$root"
state = "$state"

# Snapshotters and services that nothing here uses.
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = "$socket"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$pause"
  systemd_cgroup = false
  # Without CAP_SYS_RESOURCE a negative score fails the sandbox.
  restrict_oom_score_adj = true
  # Everything is below one folder, so that it can be removed.
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$cni_bin"
    conf_dir = "$cni_conf"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "$runtime"
        SystemdCgroup = false
CONFIG
