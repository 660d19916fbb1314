#!/bin/sh
# Build the container image with docker, or with buildah where no docker engine answers.
#
#   DEVICE=cpu|cuda   what torch is built for                     (cpu)
#   BASE_IMAGE        an image with Python 3.11 and venv          (python:3.11-slim)
#   PIP_OPTIONS       options for pip, such as another index      (none)
#   BUILD_OPTIONS     options for the builder, such as a volume   (none)
set -eu
cd "$(dirname "$0")/.."
device=${DEVICE:-cpu}
set -- --tag "likeness:$device" \
    --build-arg "BASE_IMAGE=${BASE_IMAGE:-python:3.11-slim}" \
    --build-arg "DEVICE=$device" \
    --build-arg "PIP_OPTIONS=${PIP_OPTIONS:-}" \
    ${BUILD_OPTIONS:-} .
if docker info >/dev/null 2>&1; then
    exec docker build "$@"
elif command -v buildah >/dev/null; then
    # Chroot isolation and plain copies work without privileges that containers withhold;
    # the docker format keeps the health check.
    exec buildah --storage-driver vfs build --isolation chroot --format docker "$@"
fi
echo "Neither a docker engine nor buildah is here to build with." >&2
exit 1
