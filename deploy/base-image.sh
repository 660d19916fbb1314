#!/bin/sh
# Look up the digest that a tag has today, and make it the Dockerfile's base image:
# `make digest`, or base-image.sh python:3.12-slim. docker or skopeo asks the registry.
set -eu
cd "$(dirname "$0")/.."
image=${1:-python:3.11-slim}
if command -v docker >/dev/null && docker buildx version >/dev/null 2>&1; then
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
elif command -v skopeo >/dev/null; then
    digest=$(skopeo inspect --no-tags --format '{{.Digest}}' "docker://$image")
else
    echo "Nothing to look an image up with: install docker with buildx, or skopeo." >&2
    exit 1
fi
case $digest in
sha256:*) ;;
*) echo "No digest of $image was found." >&2 && exit 1 ;;
esac
sed -i "s/^# The base image is .*/# The base image is $image of $(date -u +%F)./
s/^ARG BASE_IMAGE=.*/ARG BASE_IMAGE=${image%%:*}@$digest/" Dockerfile
echo "$image is $digest"
