# mien on a CPU. Two stages: the wheel is built in the first, and only what serves is in the second. There is no torch in it.
#
#   docker build -t mien .
#   docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 \
#     -e MIEN_API_KEYS="$(printf %s "$KEY" | sha256sum | cut -d' ' -f1)" mien
#
# The image listens on every address of its container, and the service refuses that without keys: give it MIEN_API_KEYS, or
# say MIEN_ALLOW_ANONYMOUS=true where something else guards the port. Neither is set here.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.11.14-slim-bookworm AS serve
LABEL org.opencontainers.image.title="mien" \
      org.opencontainers.image.description="Face analysis as a service" \
      org.opencontainers.image.licenses="MIT"
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MIEN_HOST=0.0.0.0 \
    MIEN_PORT=8000
# pip compiles the modules to bytecode here: at run time the root file system may be read-only.
RUN --mount=type=bind,from=build,source=/wheel,target=/wheel \
    pip install --no-cache-dir --compile /wheel/*.whl \
    && groupadd --gid 10001 mien \
    && useradd --uid 10001 --gid mien --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin mien
USER 10001:10001
WORKDIR /nonexistent
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"MIEN_PORT\"]}/livez', timeout=2)"]
ENTRYPOINT ["mien"]
CMD ["serve"]
