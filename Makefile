# Everything a newcomer needs: `make demo` and `make test` do their own set-up. `make` alone lists the targets.
#
# CARGO_TARGET_DIR says where cargo builds; LIBTORCH names an unpacked libtorch 2.13.0 to use instead of fetching one.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

target := $(or $(CARGO_TARGET_DIR),target)
tomograph := $(target)/release/tomograph

# Exports LIBTORCH for cargo, fetching libtorch into the user's cache folder where nothing else serves.
define torch
scripts/tools torch
say "looking for libtorch 2.13.0"
LIBTORCH=$$(scripts/libtorch)
export LIBTORCH
say "libtorch is in $$LIBTORCH"
endef

# The first line of each recipe.
define start
say() { printf '==> %s\n' "$$*"; }
endef

.PHONY: help demo build test test-engine lint bench clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

demo: build ## run pipelines/demo.toml, from made-up patients to a table of results
	@$(start)
	say "running pipelines/demo.toml"
	$(tomograph) run pipelines/demo.toml
	say "results/demo.csv; the page is results/demo/report.html"
	cat results/demo.csv

build: ## fetch libtorch, build both programs in release mode
	@$(start)
	$(torch)
	say "building tomograph and tomograph-torch in release mode (some ten minutes the first time)"
	cargo build --release --locked
	say "built $(tomograph) and $(tomograph)-torch"

test: ## fetch libtorch, build, run every test
	@$(start)
	$(torch)
	scripts/keras >/dev/null || say "without Keras the tests that compare with it are skipped"
	scripts/statistics >/dev/null || say "without statsmodels the tests that compare with it are skipped"
	say "building and running every test"
	scripts/test --profile ci --locked --features crash-points

test-engine: ## run the tests that need no libtorch
	@$(start)
	scripts/tools
	say "building and running the tests of the engine"
	scripts/test --profile ci --locked --no-default-features --features crash-points

lint: ## check format and lints; warnings are errors
	@$(start)
	$(torch)
	say "checking the format"
	cargo fmt --check
	say "checking the lints"
	cargo clippy --profile ci --locked --features crash-points --all-targets -- -D warnings

bench: build ## measure against ninja, a walk and b3sum, trainings against PyTorch and Keras, heads against one pass, U-Nets, intervals, on this machine
	@$(start)
	scripts/bench $(tomograph)
	scripts/bench-training $(tomograph)
	scripts/bench-heads $(tomograph)
	scripts/bench-lungs $(tomograph)
	$(torch)
	cargo run --quiet --release --locked --example bootstrap

clean: ## remove what cargo built and what the demo published; the store in cache/ stays
	@$(start)
	cargo clean
	rm -rf results
