#!/usr/bin/env bash
# The training step of preset `mini` in Lal and in other libraries, in turns so that all see the same machine.
# Usage: benches/peers/run.sh [ROUNDS]
#   LAL          the program (target/release/lal)
#   LAL_DEVICE   cpu, or gpu: then burn runs on wgpu, which is a larger build
#   PYTHON       a python3 with torch; without one PyTorch is left out
#   PEERS        which of them: "torch burn candle"
# burn and candle are built first, in a folder of their own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rounds=${1:-5}
steps=${STEPS:-60}
lal=${LAL:-$here/../../target/release/lal}
device=${LAL_DEVICE:-cpu}
python=${PYTHON:-python3}
peers=${PEERS:-torch burn candle}
built=${CARGO_TARGET_DIR:-$here/target}/release

[ -x "$lal" ] || { echo "$lal is missing: cargo build --release, or set LAL" >&2; exit 2; }
wants() { [[ " $peers " == *" $1 "* ]]; }
if [ "$device" != cpu ] && { wants torch || wants candle; }; then
    echo 'PyTorch and candle have no Vulkan here: only burn is compared.' >&2
    peers=burn
fi
if wants torch && ! "$python" -c 'import torch' 2>/dev/null; then
    echo 'PyTorch is left out: pip install torch, or set PYTHON.' >&2
    peers=${peers/torch/}
fi
build() { cargo build --release --manifest-path "$here/Cargo.toml" --features "$1" --bin "$2"; }
burn_device=flex
[ "$device" = cpu ] || burn_device=wgpu
if wants candle; then build candle candle_step; fi
if wants burn; then build "${burn_device/flex/burn}" burn_step; fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Each prints the median milliseconds of a step.
step_of() {
    case $1 in
    lal)
        "$lal" train --preset mini --data tales --device "$device" --steps "$steps" --eval-every 100000 \
            --sample-tokens 0 --json --quiet --out "$scratch/run-$RANDOM" |
            sed -n 's/.*"event":"done".*"median_step_ms":\([0-9.]*\).*/\1/p'
        ;;
    torch) "$python" "$here/torch_step.py" --steps "$steps" ;;
    burn) "$built/burn_step" $burn_device "$steps" 2>/dev/null ;;
    candle) "$built/candle_step" "$steps" 2>/dev/null ;;
    esac
}

printf '%-8s' round lal $peers
echo '  milliseconds of a step'
for round in $(seq "$rounds"); do
    printf '%-8s' "$round"
    for who in lal $peers; do
        ms=$(step_of "$who")
        echo "$ms" >>"$scratch/$who"
        printf '%-8.1f' "$ms"
    done
    echo
done

median() { sort -n "$1" | awk '{ x[NR] = $1 } END { print (x[int((NR + 1) / 2)] + x[int(NR / 2) + 1]) / 2 }'; }
ours=$(median "$scratch/lal")
echo
for who in $peers; do
    theirs=$(median "$scratch/$who")
    awk -v who="$who" -v ours="$ours" -v theirs="$theirs" 'BEGIN {
        printf "%-8s %8.1f ms, %.2f times as long as Lal'"'"'s %.1f ms\n", who, theirs, theirs / ours, ours }'
done
