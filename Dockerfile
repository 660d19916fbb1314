# The stage that installs has pip and its caches; the image that ships has neither.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
# Extra options for pip, for example an index that carries torch built for CPUs: the
# default wheels for Linux bring CUDA along, which DEVICE=cuda wants and DEVICE=cpu does not.
ARG PIP_OPTIONS=""
ARG DEVICE=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/likeness
WORKDIR /src
# Dependencies change rarely and weigh most: they are a layer of their own.
COPY pyproject.toml deploy/constraints.txt ./
RUN python3 -c "import tomllib; \
        print('\n'.join(tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']))" \
        > requirements.txt \
    && /opt/likeness/bin/pip install ${PIP_OPTIONS} -c constraints.txt -r requirements.txt
COPY README.md LICENSE ./
COPY models models
COPY service service
RUN /opt/likeness/bin/pip install --no-deps . \
    && /opt/likeness/bin/python -c "import torch, sys; \
        sys.exit(0 if ('${DEVICE}' == 'cuda') == (torch.version.cuda is not None) else \
        'torch is not built for DEVICE=${DEVICE}; see PIP_OPTIONS')" \
    && /opt/likeness/bin/pip uninstall --yes --quiet pip

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Likeness" \
      org.opencontainers.image.description="Face verification with decisions that can be defended" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin likeness \
    && install --directory --owner likeness --group likeness --mode 700 /data
COPY --from=build /opt/likeness /opt/likeness
ENV PATH=/opt/likeness/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/data/hub \
    LIKENESS_STORE=sqlite:////data/likeness.db \
    LIKENESS_HOST=0.0.0.0
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["likeness"]
CMD ["serve"]
