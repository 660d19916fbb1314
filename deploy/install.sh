#!/bin/sh
# Install the packages in the locks beside this script, and only files with the locked hashes.
#
#   install.sh PYTHON [EXTRA...]   what the service needs, and extras: dev, dlib, cuda, otel, ...
#   PIP                            another pip than PYTHON's own          (PYTHON -m pip)
#   PIP_OPTIONS                    options for it, such as another index  (none)
set -eu
locks=$(dirname "$0")/locks
python=$1
shift
install() {
    # Build tools are locked too: an isolated build would download its own.
    # shellcheck disable=SC2086 # words, not one word
    ${PIP:-"$python" -m pip} --disable-pip-version-check install --quiet \
        --require-hashes --no-build-isolation ${PIP_OPTIONS:-} "$@"
}
# Install one package of the service first, because others need it.
first() {
    sed -n "/^$1==/,/[^\\\\]\$/p" "$locks/service.txt" | install --no-deps --requirement /dev/stdin
}

first setuptools
# A torch built for CPUs is gigabytes smaller, but cannot use a GPU.
case " $* " in
*" cuda "*) ;;
*)
    if ! answer=$(install --no-deps --requirement "$locks/torch-cpu.txt" 2>&1); then
        case $answer in
        *"DO NOT MATCH THE HASHES"*) echo "$answer" >&2 && exit 1 ;;
        esac
    fi
    ;;
esac
first torch
libraries=$("$python" -c "from importlib.metadata import requires
print('torch-cuda' * any(name.startswith('nvidia') for name in requires('torch')))")

# shellcheck disable=SC2086 # none or one
set -- service $libraries "$@"
for lock; do
    set -- "$@" --requirement "$locks/$lock.txt"
    shift
done
install "$@"
