FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /app
COPY pyproject.toml README.md LICENSE ./
COPY firehose_indexer firehose_indexer
COPY sql sql
RUN /app/bin/pip install --no-cache-dir --disable-pip-version-check .

FROM python:3.13-slim
# A named user: PostgreSQL asks who it is.
RUN useradd --uid 10001 --create-home --home-dir /home/indexer indexer \
    && install --directory --owner=indexer --group=indexer /data
COPY --from=build /app /app
USER indexer
WORKDIR /home/indexer
ENV PATH=/app/bin:$PATH \
    DATA_DIR=/data \
    HTTP_BIND=0.0.0.0:2490
VOLUME /data
EXPOSE 2490
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:2490/healthz', timeout=4)"]
ENTRYPOINT ["firehose-indexer"]
CMD ["run"]
