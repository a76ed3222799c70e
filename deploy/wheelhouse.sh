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
platforms() { # A wheel names the oldest glibc that it runs with; pip takes those alone that name one that it was told.
    case $1 in manylinux_2_[0-9]*_*) ;; *) echo "--platform $1" && return ;; esac
    minor=${1#manylinux_2_} oldest=17
    processor=${minor#*_} minor=${minor%%_*}
    case $processor in x86_64 | i686) oldest=5 ;; esac
    [ "$minor" -ge "$oldest" ] || oldest=$minor
    while [ "$minor" -ge "$oldest" ]; do
        echo "--platform manylinux_2_${minor}_$processor"
        case $minor in # what these were called before a name said the version of glibc
            17) echo "--platform manylinux2014_$processor" ;;
            12) echo "--platform manylinux2010_$processor" ;;
            5) echo "--platform manylinux1_$processor" ;;
        esac
        minor=$((minor - 1))
    done
}

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
trap 'exit 130' HUP INT TERM
sh "$source/deploy/clean-copy.sh" "$copy"
mkdir -p "$folder"
rm -f "$folder"/wbc_station-*.whl # of another version: install.sh takes the newest, which may not be this one
pip wheel --no-deps -w "$folder" "$copy"
wheel=$(ls "$folder"/wbc_station-*.whl)
all=$wheel${extras:+[$extras]}
if [ -n "${PLATFORM:-}" ]; then
    foreign="$(platforms "$PLATFORM") --only-binary=:all: ${PYTHON_VERSION:+--python-version $PYTHON_VERSION}"
    # shellcheck disable=SC2086
    pip download -c "$source/deploy/constraints.txt" -d "$folder" $foreign "$all"
else # TensorRT comes as source: where there is no network nothing could make a wheel of it
    pip wheel --prefer-binary -w "$folder" -c "$source/deploy/constraints.txt" "$all"
fi
du -sh "$folder"
