#!/usr/bin/env bash
# Builds Broker as one static program, which runs on any Linux and without libraries: deploy/static.sh OUTPUT
set -euo pipefail
cd "$(dirname "$0")/.."
output=$(realpath -m "$1")

flags=(
  -C target-feature=+crt-static
  # Random bytes by the system call: a static program cannot look for the function of the library, and would need /dev/urandom.
  --cfg 'getrandom_backend="linux_getrandom"'
  # A twelfth of the size is addresses to be adjusted, which this packs. Only a library of the C language of 2022 or later understands
  # it, and here it is in the program.
  -C link-arg=-Wl,-z,pack-relative-relocs
)
# With a target, the flags do not apply to programs that run during the build.
target=$(rustc -vV | sed -n 's/^host: //p')
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}") cargo build --locked --release --target "$target"
install -D -m 755 "${CARGO_TARGET_DIR:-target}/$target/release/broker" "$output"
