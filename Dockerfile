# The base image is python:3.11-slim, with Python 3.11.16.
# `make digest` looks up the newest one. A tag alone would change from day to day.
ARG BASE_IMAGE=python@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7

# This stage is empty; `--build-context wheels=DIRECTORY` replaces it by a directory of wheels.
FROM scratch AS wheels

FROM ${BASE_IMAGE} AS dependencies
# If pip's index has torch built for CUDA, options for pip can name an index that has it built
# for CPUs alone, which saves gigabytes.
ARG PIP_OPTIONS=""
ARG DEVICE=cpu
# Extras of the project to install too, such as `dlib`.
ARG EXTRAS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# pip has an environment of its own, so that the image contains none.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/likeness
WORKDIR /src
# Dependencies change rarely and are the largest part, so they are a layer of their own.
COPY deploy/install.sh deploy/install.sh
COPY deploy/locks deploy/locks
# Only files whose hash is in a lock are installed, wherever they come from.
RUN --mount=from=wheels,target=/wheels --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    if [ "${DEVICE}" = cuda ]; then cuda=cuda; fi; \
    PIP="/opt/pip/bin/pip --python /opt/likeness/bin/python" \
    PIP_OPTIONS="--no-compile --find-links /wheels ${PIP_OPTIONS}" \
    deploy/install.sh /opt/likeness/bin/python ${EXTRAS} ${cuda:-}
RUN /opt/likeness/bin/python -c "import sys, torch; \
        cuda = torch.version.cuda is not None; \
        '${DEVICE}' == 'cuda' and not cuda and sys.exit('DEVICE=cuda, but pip found a torch without CUDA.'); \
        '${DEVICE}' == 'cpu' and cuda and print('DEVICE=cpu, but pip found a torch with CUDA: it works, and weighs gigabytes. See PIP_OPTIONS.')"
# Remove what the service never opens: headers, test programs, and the larger landmark model.
RUN cd /opt/likeness/lib/python3*/site-packages \
    && rm -rf torch/include torch/test torch/bin/test_* torch/bin/*Test torch/bin/protoc* \
        face_recognition_models/models/shape_predictor_68_face_landmarks.dat \
    && find . -type d -name tests -prune -exec rm -rf {} +
# Layers round the times of files, so bytecode that is checked by time would always look stale.
RUN /opt/likeness/bin/python -m compileall -q -f -x py312_ --invalidation-mode unchecked-hash \
        /opt/likeness/lib

FROM dependencies AS project
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY service service
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/pip/bin/pip --python /opt/likeness/bin/python install \
        ${PIP_OPTIONS} --no-compile --no-deps --no-build-isolation --prefix /opt/project . \
    && /opt/likeness/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/project

# List the packages of the image, Python's and Debian's, in the CycloneDX format.
FROM dependencies AS bill
COPY pyproject.toml deploy/sbom.py ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --quiet --require-hashes ${PIP_OPTIONS} -r deploy/locks/supply.txt \
    && /opt/pip/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        --output-file /opt/sbom.json /opt/likeness/bin/python \
    && /opt/pip/bin/python sbom.py /opt/sbom.json

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Likeness" \
      org.opencontainers.image.description="A face verification service whose decisions carry their measured error rates" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin likeness \
    && install --directory --owner likeness --group likeness --mode 700 /data
COPY --from=dependencies /opt/likeness /opt/likeness
COPY --from=project /opt/project /opt/likeness
COPY --from=bill /opt/sbom.json /usr/share/likeness/sbom.json
# The service writes only to /data and /tmp, so the rest may be mounted read-only. The image does
# not decide about keys: without a key the service refuses to listen on this address.
ENV PATH=/opt/likeness/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/data/hub \
    LIKENESS_STORE=sqlite:////data/likeness.db \
    LIKENESS_HOST=0.0.0.0
USER 10001
WORKDIR /data
# Fail the build if the image cannot load its bundle.
RUN ["likeness", "info"]
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["likeness"]
CMD ["serve"]
