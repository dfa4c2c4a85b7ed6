#!/usr/bin/env bash
# Fuzzes every target, or those that are named, for SECONDS each (600 if not given) on the stable compiler:
#   fuzz/run.sh [-t SECONDS] [TARGET...]
# Without a sanitizer, since those need a nightly one; our code has no `unsafe` for them to find.
set -euo pipefail
cd "$(dirname "$0")"
seconds=600
if [ "${1-}" = -t ]; then
    seconds=$2
    shift 2
fi
command -v cargo-fuzz > /dev/null || { echo "fuzz: cargo install cargo-fuzz" >&2; exit 1; }
export RUSTC_BOOTSTRAP=1
cargo run --quiet --example seeds
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
for target in "${targets[@]}"; do
    echo "fuzz: $target for $seconds s" >&2
    cargo fuzz run --sanitizer none "$target" -- -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 \
        -max_len=65536 -print_final_stats=1 -verbosity=1 2> "artifacts-$target.log" || {
        tail -n 40 "artifacts-$target.log" >&2
        exit 1
    }
    grep -E 'stat::number_of_executed_units|stat::peak_rss_mb|^Done' "artifacts-$target.log" || true
done
