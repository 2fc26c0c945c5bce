# The connector's image: one static binary, certificate authorities, a list of what it is made of, and a folder for its state.
# docs/install/vm.md says how to build it, also behind a mirror.

# Debian with Rust, gcc, libc6-dev and ca-certificates. Name it with its digest (`…@sha256:…`) to have the same one each time.
ARG BUILD_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm
# Needs to hold nothing at all.
ARG RUNTIME_IMAGE=scratch

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
# `true`: take crates only from the cache below.
ARG CARGO_NET_OFFLINE=false
ENV CARGO_TERM_COLOR=never
# The dependencies are a layer of their own: it is built again only when one of these files changes.
COPY deploy/image/build.sh deploy/image/
COPY Cargo.toml Cargo.lock ./
# The architecture that is asked for; without BuildKit it is not set, and the one of the base is meant.
ARG TARGETARCH
RUN --mount=type=cache,id=apono-connector-registry,target=/usr/local/cargo/registry,sharing=locked \
    deploy/image/build.sh dependencies
COPY src src
RUN --mount=type=cache,id=apono-connector-registry,target=/usr/local/cargo/registry,sharing=locked \
    deploy/image/build.sh connector
# What the binary is and where it comes from. Last, because each commit has another revision.
COPY deploy/image/describe.sh deploy/image/components.awk deploy/image/
ARG BUILD_IMAGE
ARG BUILDER=urn:builder:unnamed
ARG REVISION=unknown
ARG VERSION=0.1.0
RUN --mount=type=cache,id=apono-connector-registry,target=/usr/local/cargo/registry,sharing=locked \
    deploy/image/describe.sh

FROM ${RUNTIME_IMAGE}
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /state/ /var/lib/
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="apono-connector" \
    org.opencontainers.image.description="Gives people just-in-time access and takes it away again" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
USER 65532:65532
VOLUME /var/lib/apono-connector
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["/apono-connector", "healthcheck"]
ENTRYPOINT ["/apono-connector"]
CMD ["run"]
