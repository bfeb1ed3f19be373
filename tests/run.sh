#!/usr/bin/env bash
# Installs the programs that the tests need, then runs all tests, those of `client/` too. Rust, a C compiler, Python and Node
# must be there already.
# Arguments are passed on to `cargo test`: `tests/run.sh --test api clients` runs a part of the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
# Programs such as mkfs are not on every user's path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

stop() {
  echo "tests/run.sh: $*" >&2
  exit 1
}
has() { command -v "$1" >/dev/null; }

for program in cargo cc node npm python3; do
  has "$program" || stop "$program is missing: install Rust, a C compiler, Python 3, and Node 20 or newer with npm"
done
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
  stop "Node $(node --version) is too old: it must be 20 or newer"

# Each program, and the Debian package that contains it.
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
fsfreeze util-linux
ip iproute2
promtool prometheus
nginx nginx
haproxy haproxy
mosquitto_pub mosquitto-clients
systemd-analyze systemd
debootstrap debootstrap
dpkg-shlibdeps dpkg-dev
strip binutils
WebKitWebDriver webkit2gtk-driver
Xvfb xvfb
END

# FIREFOX can name a Firefox in another place.
has "${FIREFOX:-firefox-esr}" || missing+=(firefox-esr)

# Ubuntu uses another name. CHROMIUM can name a browser in another place.
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
CHROMIUM=$(find_chromium) || stop "Chromium is missing: install it, and set CHROMIUM to its path"
export CHROMIUM

# Installs what a lock file says. The copy records the lock file of the installed modules.
install_modules() {
  cmp --silent "$1/package-lock.json" "$1/node_modules/installed.json" && return
  (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund)
  cp "$1/package-lock.json" "$1/node_modules/installed.json"
}
install_modules tests/clients
install_modules client
install_modules client/test/react-18
install_modules client/test/next

# The package of `client/` as its users get it, for the programs of the tests and the pages of the documentation.
package=tests/clients/node_modules/broker-client
rm -rf $package
mkdir -p target $package
(cd client && npm pack --silent --pack-destination ../target)
tar -xzf target/broker-client-*.tgz -C $package --strip-components=1
ln -sf ../broker-client/bin/broker-client.js tests/clients/node_modules/.bin/broker-client

# The Python packages that the pages of the documentation, and clients of the tests, import.
if ! cmp --silent tests/requirements.txt target/python/installed.txt; then
  python3 -m venv target/python || stop "python3 has no venv: install python3-venv"
  target/python/bin/pip install --quiet --only-binary :all: -r tests/requirements.txt
  cp tests/requirements.txt target/python/installed.txt
fi

# What makes the Debian package.
[ -x target/ci/bin/cargo-deb ] || cargo install --quiet --locked --debug --root target/ci --version 3.8.0 cargo-deb

# Most tests spend most of their time waiting: for a server, for a reader, for a stream that must be gone for five seconds.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}

cargo test --locked "$@"

# The package for pages and programs, against the binary that the tests above have built. Arguments choose Rust tests, and leave it out.
[ $# = 0 ] || exit 0
cd client
npm run --silent check
npm run --silent size
npm test --silent
