#!/bin/sh
# How the starter model is made: train, train on with cells of all sizes and depths, average both, calibrate, score on
# rows that were never trained on, export with the figures on its card, calibrate that. DATA, WEIGHTS and VENV come from
# the Makefile; RUN names a run that exists, to score and export that.
set -eu
runs=${RUNS:-runs}
trainer=$VENV/bin/trainer
told="--cell-diameter bccd=162 --cell-diameter zheng=75"

log=$(mktemp)
trap 'rm -f "$log"' EXIT

named() { sed -n 's/^run .*\/\([^/:]*\): .*/\1/p' "$log"; } # the line in which `fit` names its run

# shellcheck disable=SC2086
if [ -z "${RUN:-}" ]; then
    "$trainer" fit "$DATA/bccd" "$DATA/zheng" --splits "$DATA/splits.csv" $told \
        --weights-dir "$WEIGHTS" --seed 0 --runs "$runs" | tee "$log"
    first=$(named)
    "$trainer" export "$first" --runs "$runs" --name starter -o "$runs/$first/starter.zip"
    "$trainer" fit "$DATA/bccd" "$DATA/zheng" --splits "$DATA/splits.csv" $told \
        --recipe varied --from "$runs/$first/starter.zip" --seed 0 --runs "$runs" | tee "$log"
    RUN=$(named)
    "$trainer" average "$RUN" "$DATA/bccd" "$DATA/zheng" --splits "$DATA/splits.csv" \
        --from "$runs/$first/starter.zip" --runs "$runs"
fi
draft=$runs/$RUN/starter.zip
calibrated=$runs/$RUN/calibrated.zip
# shellcheck disable=SC2086
calibrate() { "$trainer" calibrate "$draft" "$DATA/bccd" "$DATA/zheng" --splits "$DATA/splits.csv" $told -o "$1"; }
score() { "$trainer" evaluate "$calibrated" "$@" --into "$RUN" --runs "$runs"; }
"$trainer" export "$RUN" --runs "$runs" --name starter -o "$draft"
calibrate "$calibrated" # before it is scored: the figures are those of the parameters that the starter has
# shellcheck disable=SC2086
score "$DATA/bccd" "$DATA/zheng" --splits "$DATA/splits.csv" --role val $told
score "$DATA/bccd" "$DATA/zheng" --splits "$DATA/splits.csv" --role val --untold
score "$DATA/allidb2" --cell-diameter 116 # never trained on: all rows are a test
score "$DATA/allidb2" --untold
mkdir -p station/models
"$trainer" export "$RUN" --runs "$runs" --name starter --int8 -o "$draft"
calibrate station/models/starter.zip
