#!/usr/bin/env bash
# Makes the Debian package: deploy/package.sh PROGRAM OUTPUT [OPTION OF cargo deb]...
# PROGRAM is the binary of Broker, as `cargo build --release` leaves it in target/release/broker. It needs cargo-deb 3 and strip.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(realpath "$1") output=$(realpath -m "$2")
shift 2

parts=target/package
rm -rf $parts
mkdir -p $parts
# Debug symbols would be most of the package.
strip -o $parts/broker "$program"
"$program" man | gzip -9n >$parts/broker.1.gz
for shell in bash zsh fish; do
  "$program" completions $shell >$parts/broker.$shell
done
cp broker.service broker.socket $parts/
PATH=$PWD/target/ci/bin:$PATH cargo deb --no-build --no-strip --output "$output" "$@"
