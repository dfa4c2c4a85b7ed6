# Everything that people and CI call. Both targets set the machine up first; see scripts/setup.sh.

export PATH := $(CURDIR)/target/python/bin:$(PATH):/usr/sbin:/sbin
.PHONY: demo test setup

setup:
	scripts/setup.sh

demo: setup
	scripts/demo.sh

test: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	scripts/make-guest.sh target/guest
	cargo test --workspace
