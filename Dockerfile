# Headrace in a container: not root, and with a read-only file system but for /data.
#   docker build -t headrace .
#   docker run --read-only --tmpfs /tmp -v headrace-data:/data -e HEADRACE_BROKER=kafka:9092 -p 6066:6066 headrace
FROM python:3.11-slim AS build
WORKDIR /srv/headrace
COPY requirements requirements
RUN python -m venv /opt/venv && \
    /opt/venv/bin/python -m pip install --no-cache-dir --require-hashes --no-deps -r requirements/headrace.txt
COPY app app
COPY agents agents
COPY tables tables
COPY pyproject.toml ./

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /data headrace && install -d -o headrace /data
WORKDIR /srv/headrace
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/headrace /srv/headrace
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/data/kernels \
    HEADRACE_DATA_DIR=/data \
    HEADRACE_WEB_HOST=0.0.0.0 \
    HEADRACE_LOG_FORMAT=json
USER headrace
VOLUME /data
EXPOSE 6066
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:6066/health', timeout=3)"]
ENTRYPOINT ["python", "-m", "faust", "-A", "app"]
CMD ["worker"]
