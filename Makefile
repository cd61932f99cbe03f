# `make demo` shows a bake, `make test` runs all tests; both install what they need.
SHELL := /bin/bash
.PHONY: demo test test-boot chaos check deny bench openapi

demo:
	@scripts/demo

test:
	@scripts/test

# Boots images for real, in machines with a kernel of their own; takes some minutes and installs QEMU.
test-boot:
	@scripts/test-boot

# Everything that `make test` tries of chaos and of the queue's model, and much more of it; takes about an hour.
chaos:
	@scripts/chaos

# Formatting, lints, documentation, licences.
check:
	@scripts/check

# Licences, sources and, where their database can be reached, advisories of the dependencies.
deny:
	@scripts/deny

# The measurements of docs/performance.md.
bench:
	@benches/run

# Writes openapi.yaml anew; tests/openapi.rs holds it to the code.
openapi:
	cargo run --locked --quiet -- openapi > openapi.yaml.new && mv openapi.yaml.new openapi.yaml
