ARG BASE_IMAGE=python:3.11-slim

# An empty place for wheels; `--build-context wheels=DIRECTORY` puts a directory in its place.
FROM scratch AS wheels

FROM ${BASE_IMAGE} AS dependencies
# Where pip's index has torch built for CUDA, options for pip can name one that has it built for
# CPUs alone, which saves gigabytes.
ARG PIP_OPTIONS=""
ARG DEVICE=cpu
# Extras of the project to bring along, such as `dlib`.
ARG EXTRAS=""
# The variable, unlike the option, binds what pip builds with as well.
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# pip lives apart, so that what is shipped has none.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/likeness
WORKDIR /src
# Dependencies change rarely and weigh most: they are a layer of their own.
COPY pyproject.toml deploy/constraints.txt ./
RUN python3 -c "import tomllib; \
        project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        extras = (project['optional-dependencies'][name] for name in '${EXTRAS}'.split() + ['cuda'] * ('${DEVICE}' == 'cuda')); \
        print(*project['dependencies'], *sum(extras, []), sep='\n')" > requirements.txt
RUN --mount=from=wheels,target=/wheels --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/pip/bin/pip --python /opt/likeness/bin/python install \
        --no-compile --find-links /wheels ${PIP_OPTIONS} -r requirements.txt
RUN /opt/likeness/bin/python -c "import sys, torch; \
        cuda = torch.version.cuda is not None; \
        '${DEVICE}' == 'cuda' and not cuda and sys.exit('DEVICE=cuda, but pip found a torch without CUDA.'); \
        '${DEVICE}' == 'cpu' and cuda and print('DEVICE=cpu, but pip found a torch with CUDA: it works, and weighs gigabytes. See PIP_OPTIONS.')"
# What the service never opens: headers, test programs, and the large one of two landmark models.
RUN cd /opt/likeness/lib/python3*/site-packages \
    && rm -rf torch/include torch/test torch/bin/test_* torch/bin/*Test torch/bin/protoc* \
        face_recognition_models/models/shape_predictor_68_face_landmarks.dat \
    && find . -type d -name tests -prune -exec rm -rf {} +
# Layers round the times of files, and bytecode that goes by them would be stale at every start.
RUN /opt/likeness/bin/python -m compileall -q -f -x py312_ --invalidation-mode unchecked-hash \
        /opt/likeness/lib

FROM dependencies AS project
COPY README.md LICENSE ./
COPY models models
COPY service service
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/pip/bin/pip --python /opt/likeness/bin/python install \
        ${PIP_OPTIONS} --no-compile --no-deps --prefix /opt/project . \
    && /opt/likeness/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/project

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Likeness" \
      org.opencontainers.image.description="Face verification with decisions that can be defended" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin likeness \
    && install --directory --owner likeness --group likeness --mode 700 /data
COPY --from=dependencies /opt/likeness /opt/likeness
COPY --from=project /opt/project /opt/likeness
# /data and /tmp are all that is written to: the rest may be mounted read-only. Whoever starts
# the container decides about keys; undecided, the service refuses to listen on this address.
ENV PATH=/opt/likeness/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/data/hub \
    LIKENESS_STORE=sqlite:////data/likeness.db \
    LIKENESS_HOST=0.0.0.0
USER 10001
WORKDIR /data
# An image that cannot load its bundle is not built.
RUN ["likeness", "info"]
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["likeness"]
CMD ["serve"]
