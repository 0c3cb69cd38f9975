# `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := node_modules/.bin

# `make run` is for a developer's machine: it stays in this folder and never touches the keys of the person who runs it.
DEV := $(CURDIR)/.dev
TESTS := $(patsubst %.ts,build/%.js,$(shell find test -name '*.test.ts'))

.PHONY: help setup build check format test test-migrate test-upgrade test-deb test-pi demo run gateway bundle release deb check-buildroot bench bench-scale bench-bundle footprint wear clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: node_modules/.package-lock.json ## install what the machine lacks: system programs and node_modules
	@scripts/setup.sh

node_modules/.package-lock.json: package-lock.json package.json
	@command -v npm >/dev/null || { echo 'setup: npm is needed, it comes with Node' >&2; exit 1; }
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@# tap leaves its TypeScript loader out (.taprc) only after this; it would cost each test file 0.6 s.
	@$(BIN)/tap build
	@touch $@

build: node_modules/.package-lock.json ## compile; makes bin/tunnel-agent and bin/tunnel-gateway runnable
	@$(BIN)/tsc -p .

check: build ## types, format and lint
	@$(BIN)/biome check --error-on-warnings .
	@$(BIN)/eslint .

format: node_modules/.package-lock.json ## put every file into the house format
	@$(BIN)/biome check --write .

test: setup check ## set everything up, check and test everything
	@# What is shipped is what is tested; it also starts in half the time.
	@node build/scripts/bundle.js build/programs >/dev/null
	@ZEROFORCE_TEST_PROGRAMS=$(CURDIR)/build/programs $(BIN)/tap --reporter=./build/scripts/tap-reporter.js $(TESTS)

test-migrate: build ## cut a migration off by kills and power cuts, on boards of their own (3 minutes)
	@ZEROFORCE_NO_SKIP=1 $(BIN)/tap --timeout=900 --reporter=./build/scripts/tap-reporter.js build/test/migrate/cut-off.slow.js build/test/migrate/openrc.slow.js

test-pi: build ## the package on an emulated Raspberry Pi, from the start of its kernel to a paired tunnel (20 minutes)
	@ZEROFORCE_NO_SKIP=1 $(BIN)/tap --timeout=3600 --reporter=./build/scripts/tap-reporter.js build/test/pi/raspberry.js

test-upgrade: build ## install.sh: everything with the real program on each init system, a power cut at every command (15 minutes)
	@ZEROFORCE_NO_SKIP=1 $(BIN)/tap --timeout=1800 --reporter=./build/scripts/tap-reporter.js build/test/install/installer-all.js

test-deb: build ## every package as it ships, Debian 12, the gateway's package (6 minutes)
	@ZEROFORCE_NO_SKIP=1 $(BIN)/tap --timeout=1200 --reporter=./build/scripts/tap-reporter.js build/test/install/deb-all.js

demo: setup build ## pair a key, and reach two devices by ssh through a gateway, step by step
	@node build/scripts/demo.js

run: build ## start the service in the foreground, everything below .dev/
	@mkdir -p $(DEV)
	ZEROFORCE_RUN_DIR=$${ZEROFORCE_RUN_DIR:-$(DEV)/run} \
	ZEROFORCE_STATE_DIR=$${ZEROFORCE_STATE_DIR:-$(DEV)/state} \
	ZEROFORCE_AUTHORIZED_KEYS_FILE=$${ZEROFORCE_AUTHORIZED_KEYS_FILE:-$(DEV)/ssh/authorized_keys} \
	bin/tunnel-agent run

gateway: build ## start a gateway in the foreground, everything below .dev/
	@mkdir -p $(DEV)
	GATEWAY_DATA_DIR=$${GATEWAY_DATA_DIR:-$(DEV)/gateway} bin/tunnel-gateway serve

bench: setup build ## measure both ends against plain relays and OpenSSH, and thousands of devices; prints the tables of docs/performance.md (8 minutes)
	@node build/bench/run.js
	@node build/bench/scale.js

bench-scale: setup build ## the part of it with thousands of devices (3 minutes)
	@node build/bench/scale.js

footprint: setup build ## measure the idle service, bundled; prints the tables of docs/performance.md (15 minutes)
	@node build/bench/footprint.js

bench-bundle: build ## measure what the one file and V8's compile cache save (8 minutes)
	@node build/bench/bundle.js

wear: setup build ## measure what the service writes to its storage; needs root (11 minutes)
	@node build/bench/wear.js

bundle: build ## each program as one file, below dist/
	@node build/scripts/bundle.js

release: build ## the agent and all that is installed with it, dist/zeroforce-agent-VERSION.tar.gz
	@node build/scripts/release.js
	@scripts/buildroot-hash.sh

check-buildroot: bundle ## Buildroot's own tools judge board/; BUILDROOT is the folder of a checkout (4 minutes)
	@scripts/check-buildroot.sh

deb: build ## the packages for Debian and Raspberry Pi OS, below dist/ (3 minutes)
	@node build/scripts/deb.js

clean: ## remove what was built
	rm -rf build dist .tap .dev
