#!/bin/sh
# Installs the station of this clone into a virtual environment of its own.
#
#   deploy/install.sh                                  into /opt/wbc-station/.venv, from the package index
#   deploy/install.sh --extras openvino                with a second engine for processors
#   deploy/install.sh --extras tensorrt                with the engine for an NVIDIA GPU (see deploy/gpu.md)
#   deploy/install.sh --offline wheelhouse             without network, from what `make wheelhouse` collected elsewhere
set -eu

usage() {
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    echo "options: --prefix DIR (default /opt/wbc-station)  --python PYTHON (default python3)  --extras A,B  --offline WHEELS"
}
fail() {
    echo "install.sh: $1" >&2
    exit "${2:-1}"
}

source=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
prefix=/opt/wbc-station python=python3 extras='' wheels=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --prefix | --python | --extras | --offline) [ $# -gt 1 ] || fail "$1 needs a value" 2 ;;
        *) usage >&2 && fail "unknown option $1" 2 ;;
    esac
    case $1 in
        --prefix) prefix=$2 ;;
        --python) python=$2 ;;
        --extras) extras=$2 ;;
        --offline) wheels=$2 ;;
    esac
    shift 2
done

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2> /dev/null ||
    fail "$python is no Python 3.11 to 3.13; name one by --python (on JetPack 6 the system's Python is 3.10)"
[ -z "$wheels" ] || [ -d "$wheels" ] || fail "there is no folder $wheels; \`make wheelhouse\` on a machine with network makes one" 2

mkdir -p "$prefix" || fail "$prefix cannot be made; another place: --prefix DIR"
venv=$prefix/.venv
"$python" -m venv "$venv"
package=$source${extras:+[$extras]}
pip="$venv/bin/python -m pip --disable-pip-version-check -q"
if [ -n "$wheels" ]; then
    wheels=$(CDPATH='' cd -- "$wheels" && pwd)
    $pip install --no-index --find-links "$wheels" "wbc-station${extras:+[$extras]}" ||
        fail "$wheels lacks a wheel for this machine; make it with the same Python, processor and extras"
else
    $pip install -c "$source/deploy/constraints.txt" "$package"
fi
echo "installed: $venv/bin/station; next: $venv/bin/station init DIR --camera FOLDER"
