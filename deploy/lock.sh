#!/bin/sh
# Write locks/*.txt from pyproject.toml and the pins in constraints.txt, with the hash of every
# file; `make lock` runs it. The index gives the hashes, and versions that are not pinned.
#
#   service     what the service needs; each extra has a lock of what it adds
#   torch-cuda  what a torch for GPUs needs in addition
#   torch-cpu   is written by hand: change it together with torch's pin
#   supply      tools for the locks, the SBOM and the audit
set -eu
cd "$(dirname "$0")/.."
python=$1 uv=$2

named() { sed -n 's/^\([A-Za-z0-9_.-]*\)==.*/\1/p' "$1"; }

# Standard input is compiled into the lock that is named, without the packages that follow.
compile() {
    lock=$1
    shift
    for package in "$@"; do
        set -- "$@" --no-emit-package "$package"
        shift
    done
    # uv would take over hashes from a file that exists.
    rm -f "deploy/locks/$lock.txt"
    "$uv" pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
        --no-annotate --no-header --constraint deploy/constraints.txt "$@" \
        --output-file "deploy/locks/$lock.txt" -
}

wanted() {
    "$python" -c "import sys, tomllib
project = tomllib.load(open('pyproject.toml', 'rb'))['project']
extras = project['optional-dependencies']
lists = {'': list(extras), 'service': project['dependencies']} | extras
print(*lists[sys.argv[1]], sep='\n')" "$1"
}

for_gpus=$(printf torch | "$uv" pip compile --quiet --no-config --universal --no-annotate \
    --no-header --python-version 3.11 --constraint deploy/constraints.txt - |
    sed -n 's/^\(nvidia-[a-z0-9-]*\|cuda-[a-z0-9-]*\|triton\)==.*/\1/p')

# shellcheck disable=SC2086 # names of packages hold no blanks
wanted service | compile service $for_gpus
printf torch | compile torch-cuda $(named deploy/locks/service.txt)
for extra in $(wanted ""); do
    wanted "$extra" | compile "$extra" $(named deploy/locks/service.txt) $for_gpus
done
printf 'uv\npip-audit\ncyclonedx-bom\n' | compile supply
