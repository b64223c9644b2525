#!/usr/bin/env bash
# Builds apnnc, compiles examples/digits and classifies its 540 held-out images: on GPU 0 where there is a GPU, on the
# CPU device otherwise. Installs the Debian packages it misses. The last line is like
#
#   accuracy: 97.2% (525 of 540) on cpu
#
# Needs Debian or a relative of it and the CUDA Toolkit (ptxas on PATH, in $CUDA_HOME or in /usr/local/cuda).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/release
digits=$root/examples/digits

say() { printf '== %s\n' "$*"; }
fail() { printf 'run.sh: %s\n' "$*" >&2; exit 1; }

# Runs a command silently; shows the end of what it printed where it fails.
quietly() {
  local log
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    rm -f "$log"
    fail "failed: $*"
  fi
  rm -f "$log"
}

# What the build needs and the machine lacks, as root or with sudo.
install_packages() {
  local missing=() sudo=()
  command -v gcc >/dev/null || missing+=(gcc libc6-dev)
  command -v cmake >/dev/null || missing+=(cmake)
  command -v ninja >/dev/null || missing+=(ninja-build)
  command -v flex >/dev/null || missing+=(flex)
  command -v bison >/dev/null || missing+=(bison)
  command -v pkg-config >/dev/null || missing+=(pkg-config)
  [ -e /usr/include/zlib.h ] || missing+=(zlib1g-dev)
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "install these first: ${missing[*]}"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "as root: apt-get install ${missing[*]}"
    sudo=(sudo)
  fi
  say "installing ${missing[*]}"
  quietly "${sudo[@]}" apt-get update -q
  quietly "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

find_cuda() {
  local folder
  for folder in "${CUDA_HOME:-}" /usr/local/cuda; do
    if [ -n "$folder" ] && [ -x "$folder/bin/ptxas" ]; then
      PATH=$PATH:$folder/bin
    fi
  done
  command -v ptxas >/dev/null || fail "no ptxas: install the CUDA Toolkit or set CUDA_HOME to its folder"
}

# The first GPU is one that compiled networks run on: Ampere or later.
has_gpu() {
  local capability
  capability=$(nvidia-smi --id=0 --query-gpu=compute_cap --format=csv,noheader 2>/dev/null) || return 1
  [[ $capability =~ ^([0-9]+)\.[0-9]+$ ]] && [ "${BASH_REMATCH[1]}" -ge 8 ]
}

compile() { "$build/bin/apnnc" "$digits/digits.apnn" --batch 540 "$@"; }

install_packages
find_cuda

say "building $build"
if [ ! -e "$build/build.ninja" ]; then
  quietly cmake --preset release -S "$root" -DAPNN_WERROR=OFF # a compiler of tomorrow may warn of more
fi
quietly cmake --build "$build" --target apnnc apnn-run apnn-cpu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say "compiling examples/digits/digits.apnn"
device=cpu network=$work/digits.cubin
if ! has_gpu; then
  compile -o "$network"
else
  device=cuda:0
  if ! compile --target native -o "$network" 2>/dev/null; then
    network=$work/digits.ptx
    say "no target of its own for this GPU: the driver compiles the PTX for sm_80"
    compile --target sm_80 -o "$network"
  fi
fi

say "classifying 540 held-out images on $device"
"$build/bin/apnn-run" "$network" -i "$digits/test_images.npy" --labels "$digits/test_labels.npy" --device "$device"
