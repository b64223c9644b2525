#!/bin/sh
# Golden files of the emitted PTX: every NAME.apnn here is compiled with the options of its first line, "# options: ...",
# and the PTX must be NAME.ptx to the byte, the payload's comment lines left out. Then ptxas assembles it for its target
# and must have nothing to remark: no warning, no register spilled to memory.
#   run.sh APNNC [--update]
# --update writes the .ptx files anew: read the difference before you keep it.
if [ $# -lt 1 ] || [ $# -gt 2 ] || { [ $# -eq 2 ] && [ "$2" != --update ]; }; then
  echo "usage: $0 APNNC [--update]" >&2
  exit 2
fi
case $1 in
/*) apnnc=$1 ;;
*) apnnc=$PWD/$1 ;;
esac
update=$2
cd "$(dirname "$0")" || exit 2
LC_ALL=C
export LC_ALL
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

fail() {
  echo "FAILED $1: $2"
  failed=$((failed + 1))
}

# As apnnc finds it.
find_ptxas() {
  for folder in "${CUDA_HOME:-/none}/bin" /usr/local/cuda/bin; do
    [ -x "$folder/ptxas" ] && echo "$folder/ptxas" && return
  done
  command -v ptxas
}

# assembles PTX: what ptxas says lies in $work/words.
assembles() {
  target=$(sed -n 's/^\.target //p' "$1")
  "$ptxas" -v -arch="$target" -o "$work/cubin" "$1" >"$work/words" 2>&1 || return 1
  ! grep -i -q warning "$work/words" && ! grep -q '[1-9][0-9]* bytes spill' "$work/words"
}

ptxas=$(find_ptxas) || echo "no ptxas: the PTX is compared, but not assembled"

for network in *.apnn; do
  name=${network%.apnn}
  options=$(sed -n '1s/^# options: //p' "$network")
  # shellcheck disable=SC2086
  if ! "$apnnc" "$network" $options -o "$work/all.ptx" >"$work/words" 2>&1 || [ -s "$work/words" ]; then
    fail "$name" "apnnc says"
    sed 's/^/  /' "$work/words"
    continue
  fi
  grep -v '^//!apnn ' "$work/all.ptx" >"$work/$name.ptx"
  [ -z "$update" ] || cp "$work/$name.ptx" "$name.ptx"
  if ! diff -u "$name.ptx" "$work/$name.ptx" >"$work/difference"; then
    fail "$name" "the PTX differs"
    sed 's/^/  /' "$work/difference" | head -n 60
  elif [ -n "$ptxas" ] && ! assembles "$name.ptx"; then
    fail "$name" "ptxas says"
    sed 's/^/  /' "$work/words"
  else
    passed=$((passed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
