# What the layers' Makefiles share: for which Python and machine, and how bytecode is made.
# `sam build` runs them in a copy of the layer's folder, but names them by their place in
# the clone, so that this file and the clone's tools are found. SAM passes ARTIFACTS_DIR and
# knows nothing of the target; that comes by environment from the project's Makefile or
# `gatehouse up`. The defaults are the template's.
#
#   GATEHOUSE_UV             the uv to install with
#   GATEHOUSE_RUNTIME        python3.13
#   GATEHOUSE_ARCHITECTURE   arm64 or x86_64, for AWS; `host` for functions that run here

LAYERS := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
GATEHOUSE_UV ?= $(firstword $(wildcard $(LAYERS)../.gatehouse/tools/uv/bin/uv) $(shell command -v uv))
GATEHOUSE_RUNTIME ?= python3.13
GATEHOUSE_ARCHITECTURE ?= arm64

MINOR := $(GATEHOUSE_RUNTIME:python%=%)
OUT = $(ARTIFACTS_DIR)/python

# Bytecode is valid only for the very minor Python that compiled it. pyenv keeps its Pythons
# off the PATH, so its folder is looked into as well.
PYTHON = $(firstword \
    $(shell "$(GATEHOUSE_UV)" python find --system --no-python-downloads $(MINOR) 2>/dev/null) \
    $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/$(MINOR).*/bin/python$(MINOR)))

# Python 3.11 runs on Amazon Linux 2 (glibc 2.26), later ones on Amazon Linux 2023.
MANYLINUX := $(if $(filter 3.11,$(MINOR)),manylinux_2_17,manylinux_2_28)
CPU := $(GATEHOUSE_ARCHITECTURE:arm64=aarch64)
PLATFORM := $(if $(filter host,$(CPU)),,--python-platform $(CPU)-$(MANYLINUX))

# Fetches what requirements.lock names, for the target.
define fetch
@test -n "$(GATEHOUSE_UV)" || { echo "The layers are built with uv: run 'make setup' in the clone, or put uv on the PATH." >&2; exit 1; }
@# Copies: trimming a file that is linked to uv's cache would trim it in every environment.
@"$(GATEHOUSE_UV)" pip install --quiet --link-mode copy \
    --no-deps --require-hashes --only-binary :all: \
    --python-version $(MINOR) $(PLATFORM) --target "$(OUT)" --requirement requirements.lock
@# Scripts carry the path of the interpreter that built them; the lock is uv's own.
@rm -rf "$(OUT)/bin" "$(OUT)/.lock"
endef

# SAM dates every file 1980, so bytecode that checks dates would be thrown away at each cold
# start: it is marked as never to be checked. /opt is where Lambda mounts layers.
define compile
@if [ -n "$(PYTHON)" ]; then \
    "$(PYTHON)" -m compileall -q -f -s "$(ARTIFACTS_DIR)" -p /opt --invalidation-mode unchecked-hash "$(OUT)"; \
else \
    echo "No Python $(MINOR) here: $@ ships no bytecode, and cold starts take about twice as long." >&2; \
fi
endef
