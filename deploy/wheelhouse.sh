#!/bin/sh
# Collects all that `deploy/install.sh --offline` needs into a folder, on a machine with network.
#
#   deploy/wheelhouse.sh build/wheelhouse                          for a machine like this one
#   EXTRAS=openvino deploy/wheelhouse.sh build/wheelhouse          with an extra
#   PLATFORM=manylinux_2_28_aarch64 PYTHON_VERSION=3.12 deploy/wheelhouse.sh build/wheelhouse      for another one
set -eu
folder=$1
python=${PYTHON:-python3}
source=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
extras=${EXTRAS:-}
pip() {
    "$python" -m pip --disable-pip-version-check -q "$@"
}

mkdir -p "$folder"
rm -f "$folder"/wbc_station-*.whl # of another version: install.sh takes the newest, which may not be this one
pip wheel --no-deps -w "$folder" "$source"
wheel=$(ls "$folder"/wbc_station-*.whl)
foreign=
if [ -n "${PLATFORM:-}" ]; then
    foreign="--platform $PLATFORM --only-binary=:all: ${PYTHON_VERSION:+--python-version $PYTHON_VERSION}"
fi
# shellcheck disable=SC2086
pip download -c "$source/deploy/constraints.txt" -d "$folder" $foreign "$wheel${extras:+[$extras]}"
du -sh "$folder"
