#!/usr/bin/env bash
# Runs all tests, after installing what they need beside Rust, a C compiler, Python and Node.
# Arguments are given to `cargo test`: `tests/run.sh --test api clients` runs only some.
set -euo pipefail
cd "$(dirname "$0")/.."
# mkfs and its like are not on everybody's path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

stop() {
  echo "tests/run.sh: $*" >&2
  exit 1
}
has() { command -v "$1" >/dev/null; }

for program in cargo cc node npm python3; do
  has "$program" || stop "there is no $program: Rust, a C compiler, Python 3, and Node 20 or newer with npm must be there"
done
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
  stop "Node $(node --version) is too old: it must be 20 or newer"

# A program, and the Debian package that it is in.
missing=()
while read -r program package; do
  has "$program" || missing+=("$package")
done <<'END'
pebble pebble
curl curl
jq jq
openssl openssl
mkfs.ext4 e2fsprogs
mount mount
prlimit util-linux
ip iproute2
systemd-analyze systemd
END

# Its name is another on Ubuntu; CHROMIUM names one that is elsewhere.
find_chromium() {
  if [ -n "${CHROMIUM:-}" ]; then
    command -v "$CHROMIUM" || stop "CHROMIUM is $CHROMIUM, which cannot be run"
  else
    command -v chromium || command -v chromium-browser
  fi
}
find_chromium >/dev/null || missing+=(chromium)

if [ ${#missing[@]} != 0 ]; then
  has apt-get || stop "install: ${missing[*]}"
  root=()
  if [ "$(id -u)" != 0 ]; then
    has sudo || stop "as root, install: ${missing[*]}"
    root=(sudo)
  fi
  apt_get() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes "$@"; }
  apt_get update
  for package in "${missing[@]}"; do
    names=("$package")
    [ "$package" != chromium ] || names+=(chromium-browser)
    for name in "${names[@]}"; do
      apt_get install --no-install-recommends "$name" && continue 2
    done
    [ "$package" = chromium ] || stop "$package cannot be installed"
  done
fi
CHROMIUM=$(find_chromium) || stop "there is no Chromium: install one, and set CHROMIUM to its path"
export CHROMIUM

# The copy tells which lock file the modules were installed from.
modules=tests/clients/node_modules
if ! cmp --silent tests/clients/package-lock.json $modules/installed.json; then
  (cd tests/clients && npm ci --ignore-scripts --no-audit --no-fund)
  cp tests/clients/package-lock.json $modules/installed.json
fi

# What the pages of the documentation import in Python.
if ! cmp --silent tests/requirements.txt target/python/installed.txt; then
  python3 -m venv target/python || stop "python3 has no venv: install python3-venv"
  target/python/bin/pip install --quiet --only-binary :all: -r tests/requirements.txt
  cp tests/requirements.txt target/python/installed.txt
fi

# Most of them wait for most of their time: for a server, for a reader, for somebody to have been gone for five seconds.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}

cargo test --locked "$@"
