# Everything that people and CI call. Each target sets up first what it needs of the machine; see scripts/setup.sh.

export PATH := $(CURDIR)/target/python/bin:$(PATH):/usr/sbin:/sbin
.PHONY: demo pictures pin-digests pin-schemas setup test test-slow

setup:
	scripts/setup.sh test

demo:
	scripts/setup.sh demo
	scripts/demo.sh

test: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet
	scripts/make-guest.sh target/guest
	scripts/make-guest.sh target/guest-aarch64 aarch64
	scripts/make-guest.sh target/guest-scripted scripted
	cargo test --workspace

# What takes minutes, gigabytes of disk or both; `make test` leaves it out.
test-slow: setup
	cargo test --release --workspace -- --ignored --nocapture

# Records the digests that tests/reproducible.rs compares with; see docs/reproducibility.md for when that is allowed.
pin-digests:
	PIN_DIGESTS=1 cargo test --quiet --test reproducible pinned
	git diff --stat tests/digests.txt

# Writes docs/schemas anew, from the types of what is written as JSON.
pin-schemas:
	PIN_SCHEMAS=1 cargo test --quiet --test schemas the_schemas
	git diff --stat docs/schemas

# Draws the pictures of the README anew, in docs/pictures. The chart is drawn from docs/pictures/bench.json; nothing is measured.
pictures:
	scripts/setup.sh demo
	scripts/pictures.sh
