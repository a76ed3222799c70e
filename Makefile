# Everything runs in .venv, which is made by itself. PYTHON names another interpreter (3.11 to 3.13).
PYTHON ?= python3
VENV ?= .venv
STAMP = $(VENV)/.installed
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help
.PHONY: help demo test lint starter compare engines wheelhouse bench soak picture pictures clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || (echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.12"; exit 1)
	$(PYTHON) -m venv $(VENV)

$(STAMP)-station: $(VENV)/bin/python pyproject.toml deploy/constraints.txt
	$(PIP) install -c deploy/constraints.txt -e .
	touch $@

# Most of what tests install they never import: compiling all of it takes half of the time of the installation.
$(STAMP)-dev: $(VENV)/bin/python pyproject.toml deploy/constraints.txt
	$(PIP) install --no-compile -c deploy/constraints.txt -e '.[train,dev]'
	touch $@ $(STAMP)-station

demo: $(STAMP)-station  ## install the station and let a simulated camera fill a day
	$(VENV)/bin/station demo

test: $(STAMP)-dev  ## install what tests need and run them
	$(VENV)/bin/python -m pytest -n auto --dist loadgroup

lint: $(STAMP)-dev  ## style, types and import floors
	$(VENV)/bin/ruff check station trainer tests
	$(VENV)/bin/ruff format --check station trainer tests
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

SHARED ?= ../shared
DATA = $(SHARED)/data
starter: $(STAMP)-dev  ## train the starter model anew and put it into the package (two hours on two cores)
	VENV=$(VENV) DATA=$(DATA) WEIGHTS=$(SHARED)/weights sh deploy/train-starter.sh

compare: $(STAMP)-dev  ## train all comparisons of trainer/RESULTS.md (a day on two cores; goes on where it was cut off)
	VENV=$(VENV) DATA=$(DATA) WEIGHTS=$(SHARED)/weights sh deploy/compare.sh

engines: $(STAMP)-dev  ## build plans of all nine encoders by TensorRT-RTX, which needs no GPU (minutes)
	WBC_ALL_ENGINES=1 $(VENV)/bin/python -m pytest tests/test_tensorrt_builds.py

wheelhouse: $(VENV)/bin/python  ## collect wheels for a station without network (EXTRAS, PLATFORM, PYTHON_VERSION: see deploy/wheelhouse.sh)
	PYTHON=$(VENV)/bin/python sh deploy/wheelhouse.sh build/wheelhouse

bench: $(STAMP)-dev  ## measure every engine, end to end and beside the naive loop (build/bench.json, build/bench.svg)
	mkdir -p build
	$(VENV)/bin/station bench -o build/bench.json --picture build/bench.svg

soak: $(STAMP)-dev  ## memory of one station over 5,000 pictures (build/soak.json); kills, full disks, lost shares at length
	mkdir -p build
	$(VENV)/bin/station bench --soak 5000 -o build/soak.json
	WBC_SOAK=1 $(VENV)/bin/python -m pytest -s tests/test_soak_*.py tests/test_fuzz.py tests/test_crowd.py tests/test_html_report.py tests/test_backends.py tests/test_device.py tests/test_compare.py tests/test_conversion.py tests/test_pretrained.py tests/test_registration.py tests/test_overlaps.py

picture: $(STAMP)-station  ## make README's picture anew
	$(VENV)/bin/station demo build/picture --seed 1
	mkdir -p deploy/pictures
	$(VENV)/bin/python -c 'import sys; from PIL import Image; Image.open(sys.argv[1]).resize((768, 576)).save(sys.argv[2])' \
	    "$$(ls -d build/picture/day-* | tail -n 1)/overlays/Image_0010.png" deploy/pictures/overlay.jpg

pictures: $(STAMP)-dev  ## make README's pictures of report, gallery and editor anew (needs Chromium)
	made=$$(mktemp -d) && trap "rm -rf $$made" EXIT && $(VENV)/bin/station demo $$made --seed 1 && \
		$(VENV)/bin/python deploy/pictures.py $$made/day-*/station.toml deploy/pictures

clean:  ## remove what was made
	rm -rf $(VENV) build dist demo-output *.egg-info .pytest_cache .mypy_cache .ruff_cache
