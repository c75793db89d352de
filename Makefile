# The only entry point: `make run` and `make test` need Rust, and install what else is missing on Debian.

.DEFAULT_GOAL := help
HA_MINUTES ?= 20
.PHONY: help run test test-openapi test-ha check bench bench-smoke peers fmt clippy clippy-bare doc deny advisories tools deb test-deb

help:
	@echo 'make run    start the service on a private Postgres in .identityd'
	@echo 'make test   run all tests'
	@echo 'make test-openapi  run schemathesis, linters and generated clients against the OpenAPI document'
	@echo 'make test-ha  break a cell of three Postgres and two processes under load (HA="--only switchover" for a part)'
	@echo 'make check  formatting, lints, documentation, tests: what CI runs, but for the package and schemathesis'
	@echo 'make deny   licences and sources of dependencies; make advisories: known vulnerabilities, from the network'
	@echo 'make deb    build a Debian package in target/debian'
	@echo 'make bench  measure the service side by side with the stock stack (BENCH="--only rebuild" for a part)'

# The first start also makes an organization, and prints its key with three lines to try it.
run: tools
	cargo run --release --package identityd -- serve --demo

test:
	@./.ci/tools test
	@./.ci/published-clients
	@./.ci/second-postgres
	cargo test --workspace

# The published schemathesis against the running service and the document that it serves, about two minutes; then linters
# of such documents, and clients that are generated from it, a few seconds once they are installed.
test-openapi:
	@./.ci/tools openapi
	@./.ci/test-openapi
	@./.ci/generated-clients

# Whole machines fail: about nine minutes, and it is ended after HA_MINUTES (20). It measures times, so it wants a machine that does
# little else.
test-ha:
	@./.ci/tools ha
	@HA_MINUTES=$(HA_MINUTES) ./.ci/test-ha $(HA)

# The report and its plots are in target/bench.
bench: tools peers
	cargo build --release --package identityd --package identity-bench
	target/release/identity-bench $(BENCH)

# Other event stores, to append beside: hundreds of crates, none of them the service's. And nginx, to answer gets beside. What
# cannot be had is left out of the bench, which says so.
peers:
	-@./.ci/tools peers && ./.ci/peers

# Whether the bench still works, in about a minute; what it measures in so short a time means little.
bench-smoke: tools
	cargo build --workspace --all-targets
	target/debug/identity-bench --smoke --folder target/bench-smoke

# A package of the binary, and of what the binary says of itself.
deb: tools
	.ci/deb

# The same of the binary that the tests have built already; installed and removed again where this is root's machine
# and says CI, looked into elsewhere.
test-deb: tools
	.ci/deb debug
	.ci/test-deb

# The tests stand last, so that what they say is at the end.
check: fmt clippy doc deny test

fmt:
	cargo fmt --all --check

clippy: tools
	cargo clippy --workspace --all-targets -- -D warnings

# The binary without what can be left out: traces over OTLP.
clippy-bare: tools
	cargo clippy --package identityd --no-default-features --bins -- -D warnings

# Licences, bans and sources of dependencies.
deny: tools
	@./.ci/tools deny
	.ci/deny

# Known vulnerabilities of dependencies. Not a part of `make check`: the list of them is fetched from GitHub, which the
# machines that run the tests cannot always reach, and it changes while the code does not. CI looks where it reaches GitHub.
advisories: tools
	@./.ci/tools deny
	.ci/deny advisories

doc: tools
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items

# Postgres for the service, and a C compiler and its library, with which Rust links and TLS is built.
tools:
	@./.ci/tools
