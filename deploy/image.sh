#!/bin/sh
# Build the container image with docker, or with buildah if no docker engine answers.
#
#   DEVICE=cpu|cuda   what torch is built for                              (cpu)
#   EXTRAS            extras of the project, such as dlib                  (none)
#   BASE_IMAGE        an image with Python 3.11 and venv                   (the Dockerfile's)
#   WHEELS            a directory whose wheels pip may take                (none)
#   PIP_OPTIONS       options for pip, such as another index               (none)
#   BUILD_OPTIONS     options for the builder, such as a secret: pip reads
#                     `--secret id=pip.conf,src=FILE` as its configuration (none)
set -eu
cd "$(dirname "$0")/.."
device=${DEVICE:-cpu}
set -- --tag "likeness:$device" \
    ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} \
    --build-arg "DEVICE=$device" \
    --build-arg "EXTRAS=${EXTRAS:-}" \
    --build-arg "PIP_OPTIONS=${PIP_OPTIONS:-}" \
    ${WHEELS:+--build-context "wheels=$WHEELS"} \
    ${BUILD_OPTIONS:-} .
if docker info >/dev/null 2>&1; then
    exec docker build "$@"
elif command -v buildah >/dev/null; then
    # Chroot isolation and plain copies need no privileges that containers lack. The docker
    # format keeps the health check.
    exec buildah --storage-driver vfs build --isolation chroot --format docker "$@"
fi
echo "There is no program to build an image with: start a docker engine, or install buildah." >&2
exit 1
