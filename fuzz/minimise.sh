#!/bin/sh
# Adds to the corpus of a target the smallest inputs in fuzz/found that reach what it does not: fuzz/minimise.sh <target> [options]
# Each has at most so many bytes as -max_len says, 400 if it does not, so that the corpora stay small.
set -eu
cd "$(dirname "$0")"
target=$1
shift
"target/$(rustc -vV | sed -n 's/^host: //p')/release/$target" -set_cover_merge=1 -use_counters=0 -max_len=400 "$@" "corpus/$target" "found/$target"
