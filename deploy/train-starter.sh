#!/bin/sh
# How the starter model is made: train, export, score on rows that were never trained on, export again with the figures
# on its card. DATA, WEIGHTS and VENV come from the Makefile; RUN names a run that exists, to score and export that.
set -eu
runs=${RUNS:-runs}
trainer=$VENV/bin/trainer
told="--cell-diameter bccd=162 --cell-diameter zheng=75 --cell-diameter allidb2=116"

# shellcheck disable=SC2086
if [ -z "${RUN:-}" ]; then
    "$trainer" fit "$DATA/bccd" "$DATA/zheng" --splits "$DATA/splits.csv" $told \
        --weights-dir "$WEIGHTS" --seed 0 --runs "$runs"
    RUN=$(ls -t "$runs" | head -n 1)
fi
draft=$runs/$RUN/starter.zip
"$trainer" export "$RUN" --runs "$runs" --name starter -o "$draft"
for scale in "$told" --untold; do
    # shellcheck disable=SC2086
    "$trainer" evaluate "$draft" "$DATA/bccd" "$DATA/zheng" --splits "$DATA/splits.csv" --role val $scale \
        --into "$RUN" --runs "$runs"
    # shellcheck disable=SC2086
    "$trainer" evaluate "$draft" "$DATA/allidb2" $scale --into "$RUN" --runs "$runs"
done
mkdir -p station/models
"$trainer" export "$RUN" --runs "$runs" --name starter -o station/models/starter.zip
