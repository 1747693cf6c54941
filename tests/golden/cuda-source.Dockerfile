# Image cuda-source of llama.cpp, rendered by deployer 1.2.3.
# Make it again: deployer render plan.json --target compose
# Build it by hand: docker build --tag deployer/llama.cpp:cuda-source --build-arg CUDA_ARCH=61 - < Dockerfile
# llama-server compiled from source with CUDA 12.4 for one GPU generation: for drivers 525 to 569, which the
# official CUDA 12.8 image does not serve, and for P100 and V100, to which it gives only just-in-time code.
# CUDA_ARCH is the compute capability without its dot (61 for 6.1; 61;70 for two); the plan fills it in.
ARG CUDA_VERSION=12.4.1
ARG UBUNTU_VERSION=22.04

FROM docker.io/nvidia/cuda:${CUDA_VERSION}-devel-ubuntu${UBUNTU_VERSION} AS build

ARG LLAMA_BUILD=11434
# The sha256 of the source archive, when you know it: then it is checked.
ARG SOURCE_SHA256=""
# 12 is in Ubuntu 22.04; CUDA 12.4 refuses compilers above 13 (its crt/host_config.h).
ARG GCC_VERSION=12
ARG CUDA_ARCH
# Lower it when the build is killed: one nvcc can take more than 1 GiB.
ARG JOBS=""

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
       ca-certificates cmake curl g++-${GCC_VERSION} gcc-${GCC_VERSION} make \
    && rm -rf /var/lib/apt/lists/*

ENV CC=gcc-${GCC_VERSION} CXX=g++-${GCC_VERSION} CUDAHOSTCXX=g++-${GCC_VERSION}

WORKDIR /src

RUN : "${CUDA_ARCH:?give --build-arg CUDA_ARCH, the compute capability without its dot, such as 61}" \
    && curl --fail --silent --show-error --location --proto '=https' --retry 3 --output source.tar.gz \
       "https://github.com/ggml-org/llama.cpp/archive/refs/tags/b${LLAMA_BUILD}.tar.gz" \
    && if [ -n "${SOURCE_SHA256}" ]; then echo "${SOURCE_SHA256}  source.tar.gz" | sha256sum --check -; fi \
    && tar --extract --gzip --strip-components=1 --file source.tar.gz \
    && rm source.tar.gz

# The options of upstream's .devops/cuda.Dockerfile (b11434), and: code for one GPU generation only (SASS, so no
# just-in-time step and no driver floor above CUDA 12's 525), no web page (it needs Node.js), no TLS client (nothing
# is downloaded by the server), and the build number, which an archive without .git does not know.
RUN cmake -B build -DCMAKE_BUILD_TYPE=Release \
        -DGGML_NATIVE=OFF -DGGML_CUDA=ON -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON \
        -DCMAKE_CUDA_ARCHITECTURES="$(echo "${CUDA_ARCH}" | sed 's/;/-real;/g')-real" \
        -DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
        -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF \
        -DLLAMA_BUILD_NUMBER="${LLAMA_BUILD}" -DLLAMA_BUILD_COMMIT=archive \
    && cmake --build build --config Release --target llama-server --parallel "${JOBS:-$(nproc)}" \
    && mkdir /out \
    && cp build/bin/llama-server /out/ \
    && find build -name '*.so*' -exec cp --no-dereference {} /out/ \;

FROM docker.io/nvidia/cuda:${CUDA_VERSION}-runtime-ubuntu${UBUNTU_VERSION}

LABEL org.opencontainers.image.title="llama.cpp (CUDA build for one GPU generation)" \
      org.opencontainers.image.source="https://github.com/ggml-org/llama.cpp" \
      org.opencontainers.image.licenses="MIT" \
      io.deployer.profile="cuda-source"

# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends curl libgomp1 \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log

COPY --from=build /out/ /app/

# The last line proves that every library is found, without a GPU.
RUN echo /app > /etc/ld.so.conf.d/llama.conf \
    && ldconfig \
    && /app/llama-server --version

WORKDIR /app
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/app/llama-server"]
