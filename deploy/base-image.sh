#!/bin/sh
# Look up the current digest of a tag, and write it into the Dockerfile as the base image:
# `make digest`, or base-image.sh python:3.12-slim. It asks the registry by docker or skopeo.
set -eu
cd "$(dirname "$0")/.."
image=${1:-python:3.11-slim}
if command -v docker >/dev/null && docker buildx version >/dev/null 2>&1; then
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
elif command -v skopeo >/dev/null; then
    digest=$(skopeo inspect --no-tags --format '{{.Digest}}' "docker://$image")
else
    echo "There is no program to look an image up with: install docker with buildx, or skopeo." >&2
    exit 1
fi
case $digest in
sha256:*) ;;
*) echo "No digest of $image was found." >&2 && exit 1 ;;
esac
sed -i "s/^# The base image is .*/# The base image is $image of $(date -u +%F)./
s/^ARG BASE_IMAGE=.*/ARG BASE_IMAGE=${image%%:*}@$digest/" Dockerfile
echo "$image is $digest"
