# ktrace's image: agent, gate and client in one. Built for the architecture that it is built on (amd64, arm64).
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      bash clang llvm make g++ pkg-config python3 libbpf-dev libelf-dev zlib1g-dev nodejs npm ca-certificates
WORKDIR /build
COPY package-lock.json .npmrc ./
# The lock file holds what npm needs of package.json, which changes for many other reasons. And Debian's npm installs Node 24 without
# its link, because two optional packages bring the same command.
RUN node -e 'const { readFileSync, writeFileSync } = require("fs"); \
      writeFileSync("package.json", JSON.stringify(JSON.parse(readFileSync("package-lock.json")).packages[""]))' \
 && npm ci --no-audit --no-fund --loglevel=error \
 && ln -sf ../node-linux-$(uname -m | sed 's/x86_64/x64/;s/aarch64/arm64/')/bin/node node_modules/.bin/node

# The root of the image: Node, its libraries, certificates, and who the gate runs as. No shell, no package manager.
RUN mkdir -p /root-fs/usr/local/bin /root-fs/etc/ssl/certs /root-fs/tmp /root-fs/run /root-fs/proc /root-fs/sys /root-fs/dev \
 && chmod 1777 /root-fs/tmp && ln -s /opt/ktrace/bin/ktrace /root-fs/usr/local/bin/ktrace \
 && cp "$(readlink -f node_modules/.bin/node)" /root-fs/usr/local/bin/node && strip /root-fs/usr/local/bin/node \
 && libraries=/usr/lib/$(uname -m)-linux-gnu \
 && ldd /root-fs/usr/local/bin/node $libraries/libbpf.so.1 $libraries/libnss_files.so.2 $libraries/libnss_dns.so.2 \
      | awk '$2 == "=>" { print $3 } $1 ~ /^\/lib.*ld-linux/ { print $1 }' | sort -u >/libraries \
 && ls $libraries/libbpf.so.1 $libraries/libnss_dns.so.2 $libraries/libnss_files.so.2 $libraries/libresolv.so.2 >>/libraries \
 && sort -u /libraries | while read -r file; do mkdir -p "/root-fs$(dirname "$file")" && cp -L "$file" "/root-fs$file"; done \
 && cp /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/ \
 && echo 'hosts: files dns' >/root-fs/etc/nsswitch.conf \
 && printf 'root:x:0:0:root:/:/nologin\nktrace:x:65532:65532:ktrace:/:/nologin\n' >/root-fs/etc/passwd \
 && printf 'root:x:0:\nktrace:x:65532:\n' >/root-fs/etc/group \
 && mkdir -p /root-fs/usr/share/doc/node && cp "$(dirname "$(readlink -f node_modules/.bin/node)")/../LICENSE" /root-fs/usr/share/doc/node/ \
 && for package in libbpf1 libelf1 zlib1g libc6 libstdc++6 libgcc-s1; do \
      mkdir -p /root-fs/usr/share/doc/$package && cp -L /usr/share/doc/$package/copyright /root-fs/usr/share/doc/$package/; done
RUN mkdir -p /modules && cp package.json package-lock.json .npmrc /modules/ && cd /modules \
 && npm ci --omit=dev --omit=optional --no-audit --no-fund --loglevel=error --ignore-scripts \
 && find node_modules \( -name '*.map' -o -name '*.d.ts' -o -name '*.md' -o -name '*.markdown' \) -type f -delete

COPY bpf bpf
RUN bpf/build.sh build/bpf
COPY native native
RUN native/build.sh
COPY package.json tsconfig.json tsconfig.build.json ./
COPY src src
RUN node_modules/.bin/tsc -p tsconfig.build.json --sourceMap false
COPY bin bin
# There is no `env` in the image that would look for Node.
RUN mkdir -p /ktrace/bin && sed '1s,.*,#!/usr/local/bin/node,' bin/ktrace >/ktrace/bin/ktrace && chmod 755 /ktrace/bin/ktrace

FROM scratch
COPY --from=build /root-fs /
COPY --from=build /modules/node_modules /opt/ktrace/node_modules
COPY package.json LICENSE /opt/ktrace/
COPY deploy /opt/ktrace/deploy
COPY --from=build /build/build/bpf /opt/ktrace/build/bpf
COPY bpf/LICENSE /opt/ktrace/build/bpf/LICENSE
COPY --from=build /build/native/build/Release/ktrace_native.node /opt/ktrace/native/build/Release/ktrace_native.node
COPY --from=build /build/native/build/Release/ktrace-healthz /usr/local/bin/ktrace-healthz
COPY --from=build /ktrace/bin /opt/ktrace/bin
COPY --from=build /build/dist /opt/ktrace/dist
ENV PATH=/usr/local/bin NODE_ENV=production
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ktrace" \
      org.opencontainers.image.description="See what happens to packets in Kubernetes, by pod and Service name" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A young generation of 16 MiB, the default, grows the agent by three times that under load.
ENV NODE_OPTIONS=--max-semi-space-size=4
# What lists of a large cluster took while they were read goes back to the system: 20 MB with 8,000 Services.
ENV MALLOC_ARENA_MAX=2
ENV MALLOC_MMAP_THRESHOLD_=131072
ENV MALLOC_TRIM_THRESHOLD_=131072
# Files are read and written by these. A recording's disk that hangs holds three.
ENV UV_THREADPOOL_SIZE=8
ENTRYPOINT ["ktrace"]
CMD ["agent"]
