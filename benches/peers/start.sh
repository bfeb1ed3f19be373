#!/usr/bin/env bash
# Starts one of the servers that install.sh installed, in the foreground, on 127.0.0.1:
#
#     start.sh <durable-streams|nchan|mosquitto|pocketbase|socket.io> <port> <data directory> [cpu list [protocol]]
#
# With the name alone it prints the installed version. The data directory should be new and empty. The cpu list has the
# form of taskset's; a server runs one worker for each core in it. The protocol is
# mosquitto's: mqtt, the default, or websockets. PEERS_DIR is the directory of install.sh, if that is not target/peers. The
# server replaces this shell, so the started process is the server: end it with SIGTERM (nginx has workers that survive a
# SIGKILL of their master). It is ready when its port accepts connections. The exit status is 3 if the peer is not
# installed, and 2 for wrong usage.
set -euo pipefail

[ $# = 1 ] || [ $# -ge 3 ] || { echo "usage: $0 <durable-streams|nchan|mosquitto|pocketbase|socket.io> <port> <data directory> [cpu list [protocol]]" >&2; exit 2; }
peer=$1 port=${2:-} cpus=${4:-} protocol=${5:-mqtt}
here=$(cd "$(dirname "$0")" && pwd)
dir=${PEERS_DIR:-$here/../../target/peers}
[ -e "$dir/$peer/VERSION" ] || { echo "$peer is not installed in $dir: see install.sh" >&2; exit 3; }
dir=$(cd "$dir/$peer" && pwd)
[ $# -gt 1 ] || { cat "$dir/VERSION"; exit; }
mkdir -p "$3"
data=$(cd "$3" && pwd)

pin=()
[ -z "$cpus" ] || pin=(taskset -c "$cpus")
workers=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT "${pin[@]}" nproc)
files=$(ulimit -Hn)
[ "$files" != unlimited ] || files=1048576
ulimit -n "$files"

user='' reuseport=''
# Fills in a template of this directory.
template() {
    local text
    text=$(cat "$here/$1")
    text=${text//@PORT@/"$port"}
    text=${text//@DATA@/"$data"}
    text=${text//@DIR@/"$dir"}
    text=${text//@WORKERS@/"$workers"}
    text=${text//@FILES@/"$files"}
    text=${text//@USER@/"$user"}
    text=${text//@PROTOCOL@/"$protocol"}
    text=${text//@REUSEPORT@/"$reuseport"}
    printf '%s\n' "$text" >"$data/$1"
}

case $peer in
    durable-streams)
        # README.md has the reasons. `wal` acknowledges an append after the fdatasync of its log.
        exec "${pin[@]}" "$dir/bin/durable-streams-server" --host 127.0.0.1 --port "$port" --data-dir "$data" \
            --durability "${DURABILITY:-wal}" --worker-threads "$workers" --wal-shards "$workers" \
            --wal-checkpoint-wal-bytes 1073741824 --wal-checkpoint-interval-ms 60000
        ;;
    nchan)
        # Without this, root's workers run as the user nobody, which cannot write to the data directory.
        [ "$(id -u)" != 0 ] || user="user root root;"
        [ "$workers" = 1 ] || reuseport=" reuseport"
        template nchan.conf
        exec "${pin[@]}" "$dir/usr/sbin/nginx" -p "$data" -c "$data/nchan.conf"
        ;;
    mosquitto)
        [ "$(id -u)" != 0 ] || user="user root"
        template mosquitto.conf
        LD_LIBRARY_PATH=$(echo "$dir"/usr/lib/*-linux-gnu)
        export LD_LIBRARY_PATH
        exec "${pin[@]}" "$dir/usr/sbin/mosquitto" -c "$data/mosquitto.conf"
        ;;
    socket.io)
        NODE_ENV=production exec "${pin[@]}" node "$here/socket_io.mjs" "$dir" "$port"
        ;;
    pocketbase)
        pocketbase=("${pin[@]}" "$dir/bin/pocketbase" --dir "$data/pb_data" --migrationsDir "$here/pb_migrations")
        # Without an administrator it would print the address of a page that creates one, and try to open it in a browser.
        "${pocketbase[@]}" superuser upsert nobody@example.com "$(head -c 24 /dev/urandom | base64)" >/dev/null
        exec "${pocketbase[@]}" serve --http "127.0.0.1:$port" --automigrate=false \
            --hooksDir "$data/pb_hooks" --hooksWatch=false --publicDir "$data/pb_public"
        ;;
esac
