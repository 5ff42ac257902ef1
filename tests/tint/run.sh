#!/usr/bin/env bash
# Every shader, with every set of constants, compiled by Tint, the WGSL compiler of Chrome: naga takes more than the
# language has. Needs node and npm; on Debian and Ubuntu they are installed if there are none. Without them it is
# skipped, but not where CI is set.
set -euo pipefail
cd "$(dirname "$0")"

has_node() { command -v node >/dev/null && command -v npm >/dev/null; }

skip() {
    echo "$1: the shaders are not checked by Tint." >&2
    [ -z "${CI:-}" ] && exit 0
    exit 1
}

if ! has_node && command -v apt-get >/dev/null; then
    echo 'Installing node and npm.'
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    $as_root apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null ||
        skip 'node and npm cannot be installed'
fi
has_node || skip 'There is no node with npm'
npm ci --ignore-scripts --no-audit --no-fund --silent || skip 'npm cannot install the package webgpu'

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo run --release --locked --quiet --bin lal -- ops --wgsl "$folder"
node check.mjs "$folder"
