#!/usr/bin/env bash
# The tests on a GPU: the same networks and seeds as tests/run.sh, on the real driver.
#
#   tests/gpu.sh [--long] BUILD [DEVICE]     BUILD: a build folder (build/release); DEVICE: cuda:0
#
# 300 random networks, 2,000 with --long. Needs a driver and the build folder, no compiler; where ptxas or
# compute-sanitizer is found, they are used too. Prints one line a step, with its time, and in long steps how far they
# have come; a step that takes longer than LIMIT seconds (600, or as the environment says) fails. Ends like run.sh with
# "N passed, M failed".
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
networks=300
[ "${1:-}" = --long ] && networks=2000 && shift
[ -x "${1:-}/bin/random_networks" ] || { echo "usage: tests/gpu.sh [--long] BUILD [DEVICE]" >&2; exit 2; }
bin=$(cd "$1/bin" && pwd)
device=${2:-cuda:0}
limit=${LIMIT:-600}
digits=$root/examples/digits
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
logs=$work/logs
mkdir "$logs"
. "$root/tests/steps.sh"
exec 3>&2 # where progress is told while standard error goes to a log

assemble=()
find_ptxas && assemble=(--assemble 10)
PATH=$PATH:/usr/local/cuda/bin:/usr/local/cuda/compute-sanitizer

random() { timeout "$limit" "$bin/random_networks" --device "$device" "$@" 2>&3; }

# digits_on NAME OPTIONS...: the digits network compiled with the options gives the evaluator's bytes on the GPU.
digits_on() {
  local out=$work/$1
  mkdir -p "$out"
  "$bin/apnnc" "$digits/digits.apnn" -o "$out/digits.ptx" --batch 540 "${@:2}" &&
    timeout "$limit" "$bin/apnn-run" "$out/digits.ptx" -i "$digits/test_images.npy" --labels "$digits/test_labels.npy" \
      -o logits="$out/logits.npy" -o digit="$out/digit.npy" --device "$device" &&
    cmp "$work/logits.npy" "$out/logits.npy" && cmp "$work/digit.npy" "$out/digit.npy"
}

# On both targets, with the engines that the cost model chooses and with each that they have.
digits_on_every_engine() {
  local target engine engines
  "$bin/apnnc" "$digits/digits.apnn" --eval "$digits/test_images.npy" -o "$work/logits.npy" -o "$work/digit.npy" ||
    return 1
  for target in sm_80 sm_90a; do
    digits_on "$target" --target "$target" && engines=$(engines_of "$bin/apnnc" "$target") || return 1
    for engine in $engines; do
      digits_on "$target-$engine" --target "$target" --engine "$engine" || return 1
    done
  done
}

# sanitized TOOL: the digits network and ten random ones under a tool of compute-sanitizer.
sanitized() {
  local tool=(timeout "$limit" compute-sanitizer --tool "$1" --error-exitcode 9)
  # the runtime asks the driver whether a pointer is the host's, and a "no" of the driver is no error of ours
  [ "$1" = memcheck ] && tool+=(--report-api-errors no)
  "$bin/apnnc" "$digits/digits.apnn" -o "$work/digits.ptx" --batch 8 || return 1
  "${tool[@]}" "$bin/apnn-bench" "$work/digits.ptx" --batch 3,8 --device "$device" || return 1
  "${tool[@]}" "$bin/random_networks" --seed 1000 --count 10 --no-passes --jobs 0 --device "$device" 2>&3
}

step gpu nvidia-smi -L
step digits digits_on_every_engine
step random-networks random --seed 1000 --count "$networks" --no-passes "${assemble[@]}"
step every-pair-of-types random --pairs
step every-pooling random --pools
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do step "$tool" sanitized "$tool"; done
fi
for log in random-networks every-pair-of-types every-pooling; do printf '%s: %s\n' "$log" "$(tail -n 1 "$logs/$log.log")"; done
finish
