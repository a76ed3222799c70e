#!/bin/sh
# How the starter model is made: train, score on rows that were never trained on, export. DATA, WEIGHTS and VENV come from the Makefile.
set -eu
runs=${RUNS:-runs}
trainer=$VENV/bin/trainer
told="--cell-diameter bccd=162 --cell-diameter zheng=75 --cell-diameter allidb2=116"

if [ -z "${RUN:-}" ]; then
    # shellcheck disable=SC2086
    "$trainer" fit "$DATA/bccd" "$DATA/zheng" --splits "$DATA/splits.csv" $told \
        --weights-dir "$WEIGHTS" --seed 0 --runs "$runs"
    RUN=$(ls -t "$runs" | head -n 1)
fi
"$trainer" export "$RUN" --runs "$runs" --name starter -o "$runs/$RUN/starter.zip"
for role in val; do
    # shellcheck disable=SC2086
    "$trainer" evaluate "$runs/$RUN/starter.zip" "$DATA/bccd" "$DATA/zheng" "$DATA/allidb2" \
        --splits "$DATA/splits.csv" --role "$role" $told --into "$RUN" --runs "$runs"
    "$trainer" evaluate "$runs/$RUN/starter.zip" "$DATA/bccd" "$DATA/zheng" "$DATA/allidb2" \
        --splits "$DATA/splits.csv" --role "$role" --untold --into "$RUN" --runs "$runs"
done
# Once more: the card now carries the figures.
"$trainer" export "$RUN" --runs "$runs" --name starter -o station/models/starter.zip
