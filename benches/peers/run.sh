#!/usr/bin/env bash
# The training step of preset `mini` in Lal and in PyTorch, in turns so that both see the same machine.
# Usage: benches/peers/run.sh [ROUNDS]    needs a python3 with torch; LAL names the program, LAL_DEVICE its device
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rounds=${1:-5}
steps=60
lal=${LAL:-$here/../../target/release/lal}
device=${LAL_DEVICE:-cpu}
python=${PYTHON:-python3}

[ -x "$lal" ] || { echo "$lal is missing: cargo build --release, or set LAL" >&2; exit 2; }
"$python" -c 'import torch' || { echo 'PyTorch is missing: pip install torch, or set PYTHON' >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

lal_ms() {
    "$lal" train --preset mini --data tales --device "$device" --steps $steps --eval-every 100000 \
        --sample-tokens 0 --json --quiet --out "$scratch/run-$1" |
        "$python" -c 'import json, sys; print(json.loads(sys.stdin.readlines()[-1])["median_step_ms"])'
}

printf '%-6s %10s %12s %8s\n' round 'Lal ms' 'PyTorch ms' ratio
for round in $(seq "$rounds"); do
    ours=$(lal_ms "$round")
    theirs=$("$python" "$here/torch_step.py" --steps $steps)
    "$python" -c "print(f'{$round:<6} {$ours:10.2f} {$theirs:12.2f} {$theirs / $ours:8.2f}')" | tee -a "$scratch/all"
done
"$python" - "$scratch/all" <<'PYTHON'
import statistics, sys
ratios = [float(line.split()[3]) for line in open(sys.argv[1])]
print(f"median: a step of PyTorch's takes {statistics.median(ratios):.2f} times as long as Lal's")
PYTHON
