#!/bin/bash
# Writes the lock files anew from the .in files beside this script, with the newest
# packages that fit. Needs uv. What a lock file says already is kept where it fits;
# `lock.sh --upgrade` takes the newest of everything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

lock() {
  local name="$1" python="$2"
  shift 2
  # A header would hold the command line, and an index URL the machine's settings:
  # neither is wanted here.
  uv pip compile --quiet --no-config --no-header --no-annotate --no-emit-index-url \
    --generate-hashes --python-version "$python" "$@" "$name.in" -o "${name}_lock.txt"
  sed -i "1i # Made from $name.in by lock.sh." "${name}_lock.txt"
}

lock requirements 3.9 --universal "$@"
lock lint 3.9 --universal "$@"
lock docs 3.9 --universal "$@"
lock browser 3.9 --universal "$@"
lock beam 3.10 --universal "$@"
lock stores 3.11 --universal "$@"
lock tf204 3.7 --universal "$@"
lock tf208 3.7 --universal "$@"
lock tf211 3.7 --universal "$@"
lock tf212 3.9 --universal "$@"
lock tf221 3.10 --universal "$@"
# TensorFlow 1.15 has wheels for one Python and one kind of machine.
lock tf115 3.7 --python-platform x86_64-manylinux2014 "$@"
