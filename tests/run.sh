#!/usr/bin/env bash
# Everything that must hold before a change is good: format, lints, documentation, tests.
# GPU tests need a Vulkan, Metal or DX12 adapter; on Debian and Ubuntu a software one is installed if there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

has_vulkan_driver() {
    compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null || compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null ||
        [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]
}

if [ "$(uname)" = Linux ] && ! has_vulkan_driver; then
    if ! command -v apt-get >/dev/null; then
        echo 'No Vulkan driver was found: install one (Mesa has a software driver, lavapipe).' >&2
        exit 3
    fi
    echo 'Installing a software Vulkan driver.'
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    $as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq mesa-vulkan-drivers >/dev/null
fi

cargo fmt --check
cargo clippy --release --all-targets --locked -- -D warnings
RUSTDOCFLAGS='-D warnings' cargo doc --release --no-deps --locked --quiet
cargo test --release --locked
