#!/usr/bin/env bash
# Measures one device and writes a section for benches/RESULTS.md: what it can do at all, whether its kernels are right,
# where a step's time goes, how near the kernels come to what it can do. What is asked most often comes first, so that a
# stop after any minute leaves an answer.
# Usage: benches/measure.sh [--quick] [FOLDER]     the section goes to FOLDER/RESULTS.md (default measured)
#   LAL         the program (target/release/lal)
#   LAL_DEVICE  gpu, or part of an adapter's name (gpu)
#   MINUTES     when it stops (8; 60 with --quick)
#   OPS         ops that are verified first: those that have changed ("matmul attention attention_backward adamw")
#   PYTHON      a python3; if its torch has CUDA, it trains in turns with Lal (python3)
# --quick: preset mini alone, a few mistakes per shader, no ladder of shapes: minutes on a software adapter.
set -euo pipefail
cd "$(dirname "$0")/.."

presets=(char mini lal) self_test=() quick=
if [ "${1:-}" = --quick ]; then
    presets=(mini) self_test=(--quick) quick=1
    shift
fi
out=${1:-measured}
lal=${LAL:-target/release/lal}
minutes=${MINUTES:-$([ -n "$quick" ] && echo 60 || echo 8)}
ops=${OPS:-matmul attention attention_backward adamw}
python=${PYTHON:-python3}
export LAL_DEVICE=${LAL_DEVICE:-gpu}
[ -x "$lal" ] || { echo "$lal is missing: cargo build --release, or set LAL" >&2; exit 2; }
mkdir -p "$out"
section=$out/RESULTS.md
failed=0

left() { echo $((60 * minutes - SECONDS)); }
# Runs something with its output in a file, and says what and how long it took in $seconds. Fails when the time is over.
run() {
    local file=$1 from=$SECONDS status=0
    shift
    [ "$(left)" -gt 0 ] || return 1
    echo "$((SECONDS / 60)):$(printf %02d $((SECONDS % 60))) $*" >&2
    if command -v timeout >/dev/null; then
        timeout --foreground "$(left)" "$@" >"$out/$file" || status=$?
    else
        "$@" >"$out/$file" || status=$?
    fi
    seconds=$((SECONDS - from))
    # 124: it was still at work when the time was over.
    [ $status != 124 ] || return 1
    [ $status = 0 ] || failed=1
}

row() { echo "| $1 | $2 |" >>"$section"; }
last() { tail -n 1 "$out/$1"; }
# The number behind a key of the last JSON line of a file.
number() { last "$1" | sed -n "s/.*\"$2\":\([0-9.e+-]*\).*/\1/p"; }
# What a table says behind a word: `step     36.97 ms (…)`.
said() { sed -n "s/^$2 *//p" "$out/$1" | head -n 1; }
rounded() { awk -v x="$1" -v scale="$2" -v form="%.$3f" 'BEGIN { printf form, x * scale }'; }

# Whenever it ends, the section is whole.
finish() {
    for preset in "${presets[@]}"; do
        [ -s "$out/profile-$preset.txt" ] || continue
        {
            echo
            echo '```text'
            head -n 14 "$out/profile-$preset.txt"
            echo ...
            tail -n 6 "$out/profile-$preset.txt"
            echo '```'
        } >>"$section"
    done
    [ "$(left)" -gt 0 ] || echo "stopped after $minutes minutes: MINUTES=… allows more" >&2
    echo "in $section; the pictures are in $out/profile-*.html" >&2
}
trap finish EXIT

run limits.txt "$lal" bench --limits || true
{
    echo "## $(head -n 1 "$out/limits.txt"), $(date +%Y-%m-%d)"
    echo
    echo "$(sed -n 2p "$out/limits.txt"); $(git rev-parse --short HEAD 2>/dev/null || "$lal" --version)"
    echo
    echo '```text'
    tail -n +4 "$out/limits.txt"
    echo '```'
    echo
    echo '| what | figure |'
    echo '|---|---|'
} >"$section"
row '`lal bench --limits`' "$seconds s"

for op in $ops; do
    run "verify-$op.txt" "$lal" verify --op "$op" && row "\`lal verify --op $op\`" "$(last "verify-$op.txt"), $seconds s"
done

explain=()
"$lal" profile --help | grep -q -- --explain && explain=(--explain)
for preset in "${presets[@]}"; do
    run "profile-$preset.txt" "$lal" profile --preset "$preset" "${explain[@]}" \
        --html "$out/profile-$preset.html" --trace "$out/trace-$preset.json" &&
        row "a training step of \`$preset\`" \
            "$(said "profile-$preset.txt" step); host $(said "profile-$preset.txt" host | cut -d : -f 1)"
    run "decode-$preset.txt" "$lal" profile --preset "$preset" --mode decode "${explain[@]}" &&
        row "a decoded token of \`$preset\`" \
            "$(said "decode-$preset.txt" step); host $(said "decode-$preset.txt" host | cut -d : -f 1)" &&
        row "a text by \`$preset\`" "$(said "decode-$preset.txt" writing)"
done

if [ -z "$quick" ]; then
    for op in matmul attention attention_backward; do
        run "bench-$op.txt" "$lal" bench --op "$op" && row "\`lal bench --op $op\`" "in bench-$op.txt"
    done
fi

# Median milliseconds of a training step of a preset.
step_of_lal() {
    run step.json "$lal" train --preset "$1" --dropout 0 --data tales --steps "$2" --eval-every 100000 --sample-tokens 0 \
        --quiet --json --out "$out/run-$1-$RANDOM" && rounded "$(number step.json median_step_ms)" 1 2
}
step_of_torch() {
    local preset=$1
    shift
    run step.txt "$python" benches/peers/torch_step.py --preset "$preset" --device cuda --steps 60 "$@" && last step.txt
}
has_cuda=
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null && has_cuda=1
for preset in "${presets[@]:0:2}"; do
    steps=200
    [ -n "$quick" ] && steps=10
    ours=() theirs=() shipped=()
    for _ in $([ -n "$has_cuda" ] && echo 1 2 3 || echo 1); do
        ours+=("$(step_of_lal "$preset" $steps)") || true
        [ -n "$has_cuda" ] || continue
        theirs+=("$(step_of_torch "$preset" --no-matrix-units)") || true
        shipped+=("$(step_of_torch "$preset")") || true
    done
    [ -n "${ours[0]}" ] || continue
    row "\`train --preset $preset --dropout 0\`, step" "${ours[*]} ms"
    if [ -n "$has_cuda" ]; then
        row 'the same in PyTorch, in turns: without matrix units; as it ships' "${theirs[*]} ms; ${shipped[*]} ms"
    fi
done

run verify.txt "$lal" verify && row '`lal verify`' "$(last verify.txt), $seconds s"
run lockstep.txt "$lal" verify --lockstep 2 --preset mini &&
    row '`lal verify --lockstep 2 --preset mini`' "$(last lockstep.txt), $seconds s"
run webgpu.txt "$lal" verify --device-limits webgpu &&
    row '`lal verify --device-limits webgpu`' "$(last webgpu.txt), $seconds s"
if [ -z "$quick" ]; then
    run bench.txt "$lal" bench && row '`lal bench`' 'in bench.txt'
fi
run self_test.txt "$lal" verify --self-test "${self_test[@]}" &&
    row "\`lal verify --self-test ${self_test[*]}\`" "$(last self_test.txt)"

exit $failed
