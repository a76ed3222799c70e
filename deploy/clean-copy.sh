#!/bin/sh
# Copies into a folder what the package is built from. In the clone itself setuptools would pack what an earlier build
# left in build/lib, such as migrations deleted since, and leave files of its own, which under sudo are root's.
#
#   deploy/clean-copy.sh FOLDER
set -eu
to=$1
source=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

mkdir -p "$to"
for one in station trainer pyproject.toml README.md LICENSE NOTICE; do
    cp -R "$source/$one" "$to"
done
find "$to" -name __pycache__ -prune -exec rm -rf {} +
