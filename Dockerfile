# All images of a cluster that runs in containers; the target says which: etcd, control-plane, node, prometheus, cli.
# docker-compose.yml uses them, docs/compose.md explains.

ARG RUST=rust:1.95.0-slim-trixie
ARG DEBIAN=debian:trixie-20260202-slim
# Our programs: the stage below, or an image that is laid out like it, such as the one that scripts/images.sh
# makes where no registry can be reached.
ARG PROGRAMS=programs-built-here

FROM ${RUST} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends busybox-static libprotobuf-dev protobuf-compiler \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --release --locked --workspace --bins && deploy/compose/programs.sh target/release /programs

FROM scratch AS programs-built-here
COPY --from=build /programs /

FROM ${PROGRAMS} AS programs

# The user that runs all but the nodes, and the folders that it owns: a named volume takes its owner from the
# folder that it is first mounted on. curl asks for the components' health.
FROM ${DEBIAN} AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin gantry \
    && install -d -m 700 -o gantry -g gantry /pki /var/lib/etcd /var/lib/prometheus

FROM base AS etcd
RUN apt-get update \
    && apt-get install -y --no-install-recommends etcd-server \
    && rm -rf /var/lib/apt/lists/*
USER gantry
VOLUME /var/lib/etcd
ENTRYPOINT ["etcd"]

FROM base AS control-plane
COPY --from=programs /bin/gantry-apiserver /bin/gantry-scheduler /bin/gantry-controller-manager /usr/local/bin/
USER gantry

FROM base AS node
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        conntrack containerd containernetworking-plugins iproute2 kmod nftables runc \
    && rm -rf /var/lib/apt/lists/*
COPY --from=programs /bin/gantry-node-agent /bin/gantry-cni /bin/gantry-proxy /usr/local/bin/
# The agent would put it here itself, but finds a root that is read-only.
COPY --from=programs /bin/gantry-cni /usr/lib/cni/gantry-bridge
COPY --from=programs /bin/gantry-cni /usr/lib/cni/gantry-portmap
COPY --from=programs /images /usr/share/gantry/images
COPY scripts/containerd-config.sh deploy/compose/node.sh /usr/local/lib/gantry/
VOLUME /var/lib/gantry
ENTRYPOINT ["/usr/local/lib/gantry/node.sh"]

FROM base AS prometheus
RUN apt-get update \
    && apt-get install -y --no-install-recommends prometheus \
    && rm -rf /var/lib/apt/lists/*
USER gantry
VOLUME /var/lib/prometheus
ENTRYPOINT ["prometheus"]

FROM base AS cli
COPY --from=programs /bin/gantry /usr/local/bin/
COPY --from=programs /images/hello-1.tar /images/hello-2.tar /images/busybox.tar /usr/share/gantry/images/
COPY examples/*.yaml /usr/share/gantry/examples/
COPY deploy/compose/init.sh /usr/local/lib/gantry/
ENV GANTRY_CONFIG=/pki/admin/kubeconfig
WORKDIR /usr/share/gantry
USER gantry
ENTRYPOINT ["gantry"]
