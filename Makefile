# Everything goes into .venv and build/. `make demo` and `make test` are all a newcomer needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(CURDIR)/$(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
export PATH := $(BIN):$(PATH)
export YOWASP_CACHE_DIR := $(CURDIR)/build/yowasp
export PYTHONPATH := $(CURDIR)

.PHONY: demo test check unit formal system house lint thirdparty soak linux-smoke performance clean

demo: $(STAMP)
	$(BIN)/offloadcard demo

test: check system house

check: lint unit formal

$(STAMP): pyproject.toml
	@sh .ci/prerequisites
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -qq --disable-pip-version-check -e '.[dev,synth]'
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .

unit: $(STAMP)
	$(BIN)/python -m pytest -q -n $(JOBS) -m "not formal and not system and not thirdparty" tests

formal: $(STAMP)
	$(BIN)/python -m pytest -q -n $(JOBS) -m formal tests

system: $(STAMP)
	$(BIN)/python -m pytest -q -n $(JOBS) -m system tests

house: $(STAMP)
	$(BIN)/python -m pytest -q tests/test_floors.py tests/test_docs.py tests/test_testplan.py

thirdparty: $(STAMP)
	$(BIN)/python -m pytest -q -m thirdparty tests

# Hours: every end of life under load a thousand times, ten times the examples that hypothesis
# tries, 100 MB from guest to guest.
soak: $(STAMP)
	OFFLOADCARD_ROUNDS=1000 $(BIN)/python -m pytest -q -n $(JOBS) tests/system/test_lifecycle.py
	OFFLOADCARD_EXAMPLES=10 $(BIN)/python -m pytest -q -n $(JOBS) tests/sim/test_memory.py \
	    tests/sim/test_nvme_driver.py tests/sim/test_virtio_net_driver.py \
	    tests/system/test_hostile.py
	OFFLOADCARD_LONG=1 $(BIN)/python -m pytest -q -m thirdparty -k long tests/thirdparty

# The page and the pictures, from the results in docs/performance/results.
performance: $(STAMP)
	$(BIN)/python -m sim.bench.page docs/performance

# The bounded part of it: a Linux guest boots, writes and reads its drive, pings another.
linux-smoke: $(STAMP)
	$(BIN)/offloadcard linux --script tests/thirdparty/linux/smoke.sh

clean:
	rm -rf build
