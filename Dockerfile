# The HTTP service on a CPU, without torch:  docker build -t deepfake-video .
#   docker run --rm -p 127.0.0.1:8000:8000 --read-only --tmpfs /tmp deepfake-video
#   docker run --rm --network none -v "$PWD:/videos:ro" deepfake-video predict /videos
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN python -m venv /opt/deepfake-video
ENV PATH=/opt/deepfake-video/bin:$PATH
RUN pip install --no-cache-dir --no-deps . \
    && python .ci/torch_free.py serve provenance > /tmp/requirements.txt \
    && pip install --no-cache-dir -r /tmp/requirements.txt

FROM python:3.12-slim
RUN useradd --uid 10001 --create-home detector
COPY --from=build /opt/deepfake-video /opt/deepfake-video
ENV PATH=/opt/deepfake-video/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /home/detector
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["deepfake-video"]
CMD ["serve", "--host", "0.0.0.0"]
