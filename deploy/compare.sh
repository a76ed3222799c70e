#!/bin/sh
# The comparisons behind trainer/RESULTS.md. Some five hours on two cores for the first line alone; each line goes on
# where it was cut off, beginning with what deploy/results holds already; empty that folder to measure all of it anew.
# DATA, WEIGHTS and VENV come from the Makefile.
set -eu
trainer=$VENV/bin/trainer
runs=${RUNS:-runs}
kept=$(dirname "$0")/results/ledger.db
if [ -f "$kept" ] && [ ! -f "$runs/ledger.db" ]; then
    mkdir -p "$runs"
    cp "$kept" "$runs/ledger.db"
fi

compare() {
    "$trainer" compare "$DATA/bccd" "$DATA/zheng" --splits "$DATA/splits.csv" --cell-diameter bccd=162 \
        --cell-diameter zheng=75 --weights-dir "$WEIGHTS" --runs "$runs" "$@"
}

# All encoders at one small budget from random values; then those whose ImageNet weights are at hand, from these.
# One fold of three: without --only-folds the others follow, and the same table becomes means with deviations.
compare --recipe brief --folds 3 --only-folds 1 --weights none
compare --recipe brief --folds 3 --only-folds 1 --weights imagenet --backbones mobilenet,mobilenet_v2
# Full length, for the best of them.
compare --recipe station --folds 3 --weights available --backbones mobilenet,mobilenet_v2,resnet18 --losses cross_entropy+dice
# What a laboratory may expect that brings another microscope, with and without jitter of the stain.
for recipe in brief-stains brief-one-stain; do
    compare --recipe "$(dirname "$0")/$recipe.toml" --leave-one-set-out --weights imagenet --backbones mobilenet_v2 \
        --losses cross_entropy
done
