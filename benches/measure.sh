#!/usr/bin/env bash
# Measures one device from end to end and writes a section for benches/RESULTS.md: whether its kernels are right,
# where a step's time goes, how near the kernels come to what the device can reach.
# Usage: benches/measure.sh [--quick] [FOLDER]     the section goes to FOLDER/RESULTS.md (default measured)
#   LAL         the program (target/release/lal)
#   LAL_DEVICE  gpu, or part of an adapter's name (gpu)
# --quick: preset mini alone, a few mistakes per shader, no ladder of shapes: minutes on a software adapter.
set -euo pipefail
cd "$(dirname "$0")/.."

presets=(mini char lal) self_test=() quick=
if [ "${1:-}" = --quick ]; then
    presets=(mini) self_test=(--quick) quick=1
    shift
fi
out=${1:-measured}
lal=${LAL:-target/release/lal}
export LAL_DEVICE=${LAL_DEVICE:-gpu}
[ -x "$lal" ] || { echo "$lal is missing: cargo build --release, or set LAL" >&2; exit 2; }
mkdir -p "$out"
section=$out/RESULTS.md
failed=0

# Runs the program with its output in a file, tells what it does, and how long it took in $seconds.
run() {
    local file=$1 from=$SECONDS
    shift
    echo "lal $*" >&2
    "$lal" "$@" >"$out/$file" || failed=1
    seconds=$((SECONDS - from))
}

row() { echo "| $1 | $2 |" >>"$section"; }
# The number behind a key of the last JSON line of a file.
number() { tail -n 1 "$out/$1" | sed -n "s/.*\"$2\":\([0-9.e+-]*\).*/\1/p"; }
rounded() { awk -v x="$1" -v scale="$2" -v form="%.$3f" 'BEGIN { printf form, x * scale }'; }

run verify.txt verify
{
    echo "## $(head -n 1 "$out/verify.txt"), $(date +%Y-%m-%d)"
    echo
    echo "$(sed -n 2p "$out/verify.txt"); Lal $(git rev-parse --short HEAD 2>/dev/null || "$lal" --version)"
    echo
    echo '| what | figure |'
    echo '|---|---|'
} >"$section"
row '`lal verify`' "$(tail -n 1 "$out/verify.txt"), $seconds s"
run webgpu.txt verify --device-limits webgpu
row '`lal verify --device-limits webgpu`' "$(tail -n 1 "$out/webgpu.txt"), $seconds s"
run self_test.txt verify --self-test "${self_test[@]}"
row "\`lal verify --self-test ${self_test[*]}\`" "$(tail -n 1 "$out/self_test.txt")"
run lockstep.txt verify --lockstep 2 --preset mini
row '`lal verify --lockstep 2 --preset mini`' "$(tail -n 1 "$out/lockstep.txt"), $seconds s"

for preset in "${presets[@]}"; do
    run "profile-$preset.json" profile --preset "$preset" --json \
        --html "$out/profile-$preset.html" --trace "$out/trace-$preset.json"
    ms=$(rounded "$(number "profile-$preset.json" step_us)" 0.001 2)
    host=$(rounded "$(number "profile-$preset.json" host_us)" 0.001 2)
    row "a training step of \`$preset\`" "$ms ms, of which the host $host ms"
    run "profile-$preset.txt" profile --preset "$preset"
    run "decode-$preset.txt" profile --preset "$preset" --mode decode
    steps=200
    [ -n "$quick" ] && steps=10
    run "train-$preset.json" train --preset "$preset" --data tales --steps $steps --eval-every 100000 \
        --sample-tokens 0 --quiet --json --out "$out/run-$preset-$RANDOM"
    row "\`train --preset $preset\`, $steps steps" \
        "$(rounded "$(number "train-$preset.json" median_step_ms)" 1 2) ms a step, \
$(rounded "$(number "train-$preset.json" tokens_per_second)" 1 0) tokens/s"
done

if [ -z "$quick" ]; then
    run bench.txt bench
    row '`lal bench`' "in bench.txt; $(sed -n 2p "$out/bench.txt")"
fi

for preset in "${presets[@]}"; do
    {
        echo
        echo '```text'
        head -n 14 "$out/profile-$preset.txt"
        echo ...
        tail -n 6 "$out/profile-$preset.txt"
        echo '```'
    } >>"$section"
done
echo "in $section; the pictures are in $out/profile-*.html" >&2
exit $failed
