#!/bin/sh
# How the starter model is made: train, train on with cells of all sizes and depths, average both, score on rows that were
# never trained on, export with the figures on its card, calibrate. DATA, WEIGHTS and VENV come from the Makefile; RUN
# names a run that exists, to score and export that.
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
"$trainer" export "$RUN" --runs "$runs" --name starter -o "$draft"
score() { "$trainer" evaluate "$draft" "$@" --into "$RUN" --runs "$runs"; }
# shellcheck disable=SC2086
score "$DATA/bccd" "$DATA/zheng" --splits "$DATA/splits.csv" --role val $told
score "$DATA/bccd" "$DATA/zheng" --splits "$DATA/splits.csv" --role val --untold
score "$DATA/allidb2" --cell-diameter 116 # never trained on: all rows are a test
score "$DATA/allidb2" --untold
mkdir -p station/models
"$trainer" export "$RUN" --runs "$runs" --name starter --int8 -o "$draft"
# shellcheck disable=SC2086
"$trainer" calibrate "$draft" "$DATA/bccd" "$DATA/zheng" --splits "$DATA/splits.csv" $told -o station/models/starter.zip
