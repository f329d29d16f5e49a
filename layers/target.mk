# Shared by the layers' Makefiles: the target's Python and CPU, fetching wheels, compiling bytecode.
# `sam build` runs these Makefiles in a copy of the layer's folder, but by their path in the
# clone; so they find this file and the clone's tools. SAM passes ARTIFACTS_DIR only. The target
# comes from the environment, set by `gatehouse build`, `deploy` or `up`. The defaults are the
# template's.
#
#   GATEHOUSE_UV             the uv that installs the packages
#   GATEHOUSE_RUNTIME        python3.13
#   GATEHOUSE_ARCHITECTURE   arm64 or x86_64, for AWS; `host` for functions that run on this machine

LAYERS := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
GATEHOUSE_UV ?= $(firstword $(wildcard $(LAYERS)../.gatehouse/tools/uv/bin/uv) $(shell command -v uv))
GATEHOUSE_RUNTIME ?= python3.13
GATEHOUSE_ARCHITECTURE ?= arm64

MINOR := $(GATEHOUSE_RUNTIME:python%=%)
OUT = $(ARTIFACTS_DIR)/python

# Bytecode is valid only for the minor version of Python that compiled it. pyenv keeps its Pythons
# off the PATH, so its folder is searched too.
PYTHON = $(firstword \
    $(shell "$(GATEHOUSE_UV)" python find --system --no-python-downloads $(MINOR) 2>/dev/null) \
    $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/$(MINOR).*/bin/python$(MINOR)))

# Python 3.11 runs on Amazon Linux 2 (glibc 2.26), later ones on Amazon Linux 2023.
MANYLINUX := $(if $(filter 3.11,$(MINOR)),manylinux_2_17,manylinux_2_28)
CPU := $(GATEHOUSE_ARCHITECTURE:arm64=aarch64)
PLATFORM := $(if $(filter host,$(CPU)),,--python-platform $(CPU)-$(MANYLINUX))

# Installs the packages of requirements.lock for the target.
define fetch
@test -n "$(GATEHOUSE_UV)" || { echo "The layers are built with uv: run 'make setup' in the clone, or put uv on the PATH." >&2; exit 1; }
@# Copies, not links: trimming a file linked to uv's cache would trim it in every environment.
@"$(GATEHOUSE_UV)" pip install --quiet --link-mode copy \
    --no-deps --require-hashes --only-binary :all: \
    --python-version $(MINOR) $(PLATFORM) --target "$(OUT)" --requirement requirements.lock
@# Scripts contain the path of the interpreter that built them; the lock is uv's own.
@rm -rf "$(OUT)/bin" "$(OUT)/.lock"
endef

# SAM sets the date of every file to 1980, so Python would discard bytecode that is checked by
# date at each cold start. Unchecked bytecode is always used. Lambda mounts layers at /opt.
define compile
@if [ -n "$(PYTHON)" ]; then \
    "$(PYTHON)" -m compileall -q -f -s "$(ARTIFACTS_DIR)" -p /opt --invalidation-mode unchecked-hash "$(OUT)"; \
else \
    echo "Python $(MINOR) was not found: $@ is built without bytecode, and cold starts take about twice as long." >&2; \
fi
endef
