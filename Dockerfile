# One image for every role: `gateway up` (all on one machine), `api`, `worker`, `migrate`, `doctor`.
# Runs as an ordinary user; needs no writable file outside /data and /tmp.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/gateway
WORKDIR /src
# Dependencies first: they change less often than the code.
COPY requirements.txt requirements-dev.txt ./
RUN /opt/gateway/bin/pip install --require-hashes -r requirements.txt \
    && sed -n '/^setuptools==/,/# via/p' requirements-dev.txt > /tmp/setuptools.txt \
    && pip install --require-hashes -r /tmp/setuptools.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY migrations migrations
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /tmp/wheel . \
    && /opt/gateway/bin/pip install --no-deps --no-index /tmp/wheel/*.whl \
    && /opt/gateway/bin/python -m compileall -q /opt/gateway/lib \
    && rm -rf /opt/gateway/lib/python3.*/site-packages/pip*

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin gateway \
    && install -d -o gateway -g gateway -m 700 /data
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_HOST=0.0.0.0 \
    GATEWAY_DATA_DIR=/data \
    GATEWAY_LOG_FORMAT=json
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /home/gateway
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["gateway", "doctor", "--quick"]
ENTRYPOINT ["gateway"]
CMD ["up"]
