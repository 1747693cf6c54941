# Image debian of llama.cpp, rendered by deployer 1.2.3.
# Make it again: deployer render plan.json --target compose
# Build it by hand: docker build --tag deployer/llama.cpp:debian - < Dockerfile
# llama-server from Debian's own packages: nothing is compiled, and the CPU code is chosen when it starts.
# forky and sid have them (0.7.0, upstream build 11669); trixie has not.
ARG BASE=debian:sid-slim
# hadolint ignore=DL3006
FROM ${BASE}

LABEL org.opencontainers.image.title="llama.cpp (Debian packages)" \
      org.opencontainers.image.source="https://salsa.debian.org/deeplearning-team/llama.cpp" \
      org.opencontainers.image.licenses="MIT" \
      io.deployer.profile="debian"

# sid keeps one version of a package, so a pin would break the build at the next upload; the last line proves what came.
# llama.cpp-tools-extra has llama-fit-params, which tells what a model would take (2 MB).
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends curl llama.cpp-tools llama.cpp-tools-extra \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log \
    && llama-server --version

# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/bin/llama-server"]
