#!/usr/bin/env bash
# Every test that needs no GPU, on a Debian machine with the CUDA Toolkit; installs the packages it misses.
#
#   tests/run.sh            about ten minutes on two cores
#   tests/run.sh --long     2,000 random networks and ten times the damaged inputs
#
# Each step's output goes to build/logs/STEP.log and is shown where the step fails. The last line is
#
#   N passed, M failed
#
# counting steps; the exit status is 0 where none failed.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
build=$root/build
logs=$build/logs
networks=500 damaged=4000
if [ "${1:-}" = --long ]; then
  networks=2000 damaged=40000
elif [ $# -gt 0 ]; then
  echo "usage: tests/run.sh [--long]" >&2
  exit 2
fi
mkdir -p "$logs"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

. "$root/tests/steps.sh"

# --- what the tests need ---

# Debian packages, each with what shows that it is there: a program or a file.
packages='gcc:gcc g++:g++ clang:clang cmake:cmake ninja-build:ninja flex:flex bison:bison pkg-config:pkg-config
valgrind:valgrind python3:python3 make:make binutils:ld libc6-dev:/usr/include/stdio.h zlib1g-dev:/usr/include/zlib.h
libcmocka-dev:/usr/include/cmocka.h'

is_there() {
  case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

install_packages() {
  local entry missing=() sudo=()
  for entry in $packages; do
    is_there "${entry#*:}" || missing+=("${entry%%:*}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  echo "installing ${missing[*]}"
  "${sudo[@]}" apt-get update -q &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# --- steps ---

# build PRESET: configured and built without a warning.
build() { cmake --preset "$1" -S "$root" && cmake --build "$build/$1"; }

# ctest of a build folder; a run without tests is a failure.
units() { ctest --test-dir "$build/$1" --output-on-failure --no-tests=error -j "$(nproc)" "${@:2}"; }

# The same command gives the same bytes, wherever it runs.
same_bytes() {
  local form folder source=$root/examples/digits/digits.apnn
  for folder in "$work/one" "$work/two/deeper"; do
    mkdir -p "$folder"
    for form in cubin ptx c o h; do
      (cd "$folder" && "$build/release/bin/apnnc" "$source" -o "net.$form") || return 1
    done
  done
  diff -r "$work/one" "$work/two/deeper"
}

# A failed compilation leaves no file behind, and an old one as it was.
nothing_half_written() {
  local folder=$work/half
  mkdir -p "$folder" && echo old >"$folder/net.cubin"
  printf 'network n { input x : u4[4] output y = linear(x, 3, w=u9) }\n' >"$folder/bad.apnn"
  (cd "$folder" && "$build/release/bin/apnnc" bad.apnn --random-params 1 -o net.cubin) && return 1
  [ "$(cat "$folder/net.cubin")" = old ] && [ "$(ls "$folder" | wc -l)" = 2 ]
}

# Installed, found by CMake and by pkg-config, a network embedded.
installed() {
  local prefix=$work/prefix user=$work/user
  cmake --install "$build/release" --prefix "$prefix" || return 1
  mkdir -p "$user"
  cp "$root/examples/digits/digits.apnn" "$root/examples/digits/digits.safetensors" "$user"
  cp "$root/tests/install/CMakeLists.txt" "$root/tests/install/main.c" "$user"
  cmake -S "$user" -B "$user/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" && cmake --build "$user/build" &&
    "$user/build/embedded" || return 1
  PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name apnn.pc)") pkg-config --exists --print-errors apnn
}

# A pass of one's own is built against the installed headers, and runs.
plugin() {
  cmake -S "$root/examples/my_pass" -B "$work/my_pass" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" &&
    cmake --build "$work/my_pass" || return 1
  "$build/release/bin/apnnc" "$root/examples/digits/digits.apnn" --plugin="$work/my_pass/my_pass.so" \
    --print-after=all -o "$work/plugged.cubin"
}

# Compiler and runtime leave no memory behind and touch none that is not theirs.
no_leaks() {
  local check=(valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite,indirect --error-exitcode=9)
  printf 'network n {\n input x : u4[5, 5, 3]\n c = conv2d(x, 7, kernel=3, w=i2)\n' >"$work/small.apnn"
  printf ' a = c | batchnorm | relu | quantize(u2)\n output y = linear(flatten(a), 4, w=bipolar)\n}\n' >>"$work/small.apnn"
  "${check[@]}" "$build/release/bin/apnnc" "$work/small.apnn" --random-params 1 -o "$work/small.cubin" || return 1
  printf 'network n { input x : u4[5] y = ]\n' >"$work/broken.apnn"
  "${check[@]}" "$build/release/bin/apnnc" "$work/broken.apnn" -o "$work/broken.cubin"
  [ $? = 1 ] || return 1
  "${check[@]}" "$build/release/bin/apnn-bench" "$work/small.cubin" --batch 1 --json
}

# No two accesses to shared memory without an order, in the kernels of every engine: the digits, and a convolution whose
# many chunks go round the stages of wgmma.
no_races() (
  local engine engines chunks=$work/chunks.apnn
  printf 'network n {\n input x : u2[6, 6, 1024]\n' >"$chunks"
  printf ' output y = conv2d(x, 32, kernel=3, w=bipolar)\n}\n' >>"$chunks"
  export APNN_CPU_CHECK=race
  engines=$(engines_of "$build/release/bin/apnnc" sm_90a) || exit 1
  for engine in $engines; do
    set -- --engine "$engine" -o "$work/races.ptx"
    "$build/release/bin/apnnc" "$root/examples/digits/digits.apnn" --batch 24 "$@" &&
      "$build/release/bin/apnn-bench" "$work/races.ptx" --device cpu --runs 1 &&
      "$build/release/bin/apnnc" "$chunks" --random-params 1 --batch 4 "$@" &&
      "$build/release/bin/apnn-bench" "$work/races.ptx" --device cpu --runs 1 || exit 1
  done
  "$build/release/bin/random_networks" --seed 9000 --count 50
)

# The commands that the README shows first.
readme_commands() { bash "$root/examples/run.sh" | tee "$work/accuracy" && grep -q '^accuracy: 9' "$work/accuracy"; }

# --- the run ---

step packages install_packages
if ! find_ptxas; then
  echo "no ptxas: install the CUDA Toolkit or set CUDA_HOME to its folder" >&2
  failed=$((failed + 1))
  finish
fi

step build-release build release
step build-dev build dev
step build-clang build clang

step unit-dev units dev -L 'unit|golden'
step unit-release units release -LE 'random|fuzz'
step random-networks-dev "$build/dev/bin/random_networks" --seed 1 --count $((networks / 10))
step random-networks "$build/release/bin/random_networks" --seed 1000 --count "$networks" --assemble 20
step random-networks-clang "$build/clang/bin/random_networks" --seed 5000 --count $((networks / 5))
step every-pair-of-types "$build/release/bin/random_networks" --pairs
step every-pooling "$build/release/bin/random_networks" --pools
step damaged-inputs "$build/dev/bin/fuzz" --seed 1 --count "$damaged"
beside same-bytes same_bytes
beside no-leaks no_leaks
beside readme-commands readme_commands
step nothing-half-written nothing_half_written
step installed installed
step plugin plugin
step no-races no_races
rejoin
finish
