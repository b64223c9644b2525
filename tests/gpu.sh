#!/usr/bin/env bash
# The tests on a GPU: the same networks and seeds as tests/run.sh, on the real driver.
#
#   tests/gpu.sh BUILD [DEVICE]     BUILD: a build folder (build/release); DEVICE: cuda:0
#
# Needs a driver and the build folder, no compiler; where ptxas or compute-sanitizer is found, they are used too. Prints
# one line a step and ends like run.sh with "N passed, M failed".
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ -x "${1:-}/bin/random_networks" ] || { echo "usage: tests/gpu.sh BUILD [DEVICE]" >&2; exit 2; }
bin=$(cd "$1/bin" && pwd)
device=${2:-cuda:0}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
logs=$work/logs
mkdir "$logs"
. "$root/tests/steps.sh"

jobs=$(($(nproc) < 8 ? $(nproc) : 8))
assemble=()
find_ptxas && assemble=(--assemble 10)
PATH=$PATH:/usr/local/cuda/bin:/usr/local/cuda/compute-sanitizer

random() { "$bin/random_networks" --device "$device" --jobs "$jobs" "$@"; }

# The digits network gives the same bytes on the GPU and on the CPU device.
same_digits() {
  local target digits=$root/examples/digits
  for target in sm_80 sm_90a; do
    "$bin/apnnc" "$digits/digits.apnn" -o "$work/digits.ptx" --batch 540 --target "$target" || return 1
    for place in "$device" cpu; do
      mkdir -p "$work/$place"
      "$bin/apnn-run" "$work/digits.ptx" -i "$digits/test_images.npy" --labels "$digits/test_labels.npy" \
        -o logits="$work/$place/logits.npy" -o digit="$work/$place/digit.npy" --device "$place" || return 1
    done
    cmp "$work/$device/logits.npy" "$work/cpu/logits.npy" && cmp "$work/$device/digit.npy" "$work/cpu/digit.npy" ||
      return 1
  done
}

sanitized() {
  local tool
  "$bin/apnnc" "$root/examples/digits/digits.apnn" -o "$work/digits.ptx" --batch 8 || return 1
  for tool in memcheck racecheck initcheck synccheck; do
    # the runtime asks the driver whether a pointer is the host's, and a "no" of the driver is no error of ours
    compute-sanitizer --tool "$tool" $([ "$tool" != memcheck ] || echo --report-api-errors no) --error-exitcode 9 "$bin/apnn-bench" "$work/digits.ptx" --batch 3,8 \
      --device "$device" || return 1
  done
}

step gpu nvidia-smi -L
step random-networks random --seed 1000 --count 300 --no-passes "${assemble[@]}"
step every-pair-of-types random --pairs
step digits same_digits
command -v compute-sanitizer >/dev/null && step compute-sanitizer sanitized
for log in random-networks every-pair-of-types; do printf '%s: %s\n' "$log" "$(tail -n 1 "$logs/$log.log")"; done
finish
