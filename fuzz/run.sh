#!/bin/sh
# Fuzzes one target on the stable toolchain: fuzz/run.sh <target> [options of libFuzzer]
# New inputs go to fuzz/found/<target>, and one that breaks a property to fuzz/artifacts/<target>.
set -eu
cd "$(dirname "$0")"
target=$1
shift
mkdir -p "found/$target" "artifacts/$target" "corpus/$target"
# What `cargo fuzz` sets, without the sanitizers of memory, which need a nightly toolchain: no code of Broker is `unsafe`.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage="$coverage -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# With a target named, the flags do not hold for what runs while building.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="$coverage" cargo build --locked --release --target "$host" --bin "$target"
exec "target/$host/release/$target" -artifact_prefix="artifacts/$target/" "$@" "found/$target" "corpus/$target"
