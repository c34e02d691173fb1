# NMSlite. `make run` and `make test` need nothing but a Swift toolchain: scripts/bootstrap brings the rest.

SWIFT ?= swift
# Options for every build, such as `make test SWIFT_FLAGS="-j 2"`.
SWIFT_FLAGS ?=
# Arguments of the server: make run ARGS="--server.port 9443"
ARGS ?=
# Options of the demonstration, such as `make demo DEMO_FLAGS="--hosts 20"`.
DEMO_FLAGS ?=
# Options of the benchmarks, such as `make bench BENCH_FLAGS=--quick`, and of the long chaos run.
BENCH_FLAGS ?=
SOAK_FLAGS ?= --minutes 30
PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help run demo build package test bench soak check format bootstrap clean

help:
	@echo "make run        build for release and serve on https port 8443 (ARGS=… passes flags)"
	@echo "make demo       a simulated fleet, found, polled and shown; nothing is left behind (DEMO_FLAGS=…)"
	@echo "make build      build for release: nmslite and winsim"
	@echo "make package    a Debian package in .build/package"
	@echo "make test       build once and run every test"
	@echo "make bench      every benchmark, within half an hour: .build/bench/bench.md and bench.json"
	@echo "make soak       the long runs: chaos of one and of three instances, and large fleets"
	@echo "make check      format, lint, imports, scripts"
	@echo "make format     rewrite sources in the project's format"
	@echo "make bootstrap  install what is missing, without building"
	@echo "make clean      remove what builds made; the data directory stays"

run:
	scripts/bootstrap --run
	$(SWIFT) build $(SWIFT_FLAGS) -c release --product nmslite
	exec .build/release/nmslite serve $(ARGS)

demo:
	scripts/demo $(DEMO_FLAGS)

build:
	scripts/bootstrap --run
	$(SWIFT) build $(SWIFT_FLAGS) -c release

package:
	scripts/bootstrap --run
	scripts/package

test:
	scripts/bootstrap --test
	scripts/test

bench:
	scripts/bootstrap --test
	scripts/bench $(BENCH_FLAGS)

soak:
	scripts/bootstrap --test
	$(SWIFT) build $(SWIFT_FLAGS) -c release
	scripts/chaos --bin .build/release $(SOAK_FLAGS)
	scripts/chaos --bin .build/release --instances 3 $(SOAK_FLAGS)
	scripts/bench-fleet --bin .build/release --hosts 10000 --minutes 10
	scripts/bench-fleet --bin .build/release --hosts 2000 --minutes 10 --type wmi

check:
	scripts/bootstrap --check
	scripts/check

format:
	find Package.swift Sources Tests FuzzTesting -name '*.swift' -type f -not -path '*/.*' -print0 | \
		xargs -0 swift format --in-place --parallel

bootstrap:
	scripts/bootstrap --test

clean:
	$(SWIFT) package clean
