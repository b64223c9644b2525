#!/bin/sh
# Golden files of the passes: NAME.ir goes in, and what `apnnc NAME.ir --passes PASS --emit ir` prints is compared with
# NAME.PASS.out, which must also read back and print to itself.
#
#   run.sh APNNC            compare; prints "N passed, M failed", status 1 if any failed
#   run.sh APNNC --update   write the .out files anew
apnnc=$1
update=$2
here=$(dirname "$0")
if [ -z "$apnnc" ] || { [ -n "$update" ] && [ "$update" != --update ]; }; then
  echo "usage: run.sh APNNC [--update]" >&2
  exit 2
fi
passed=0 failed=0
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

fail() {
  failed=$((failed + 1))
  echo "FAILED $1: $2"
}

for out in "$here"/*.*.out; do
  stem=$(basename "$out" .out)
  name=${stem%%.*} pass=${stem#*.}
  if ! "$apnnc" "$here/$name.ir" --target sm_90a --batch 4 --passes "$pass" --emit ir >"$scratch/out" \
    2>"$scratch/err"; then
    fail "$stem" "apnnc says"
    cat "$scratch/err"
    continue
  fi
  if [ "$update" = --update ]; then
    cp "$scratch/out" "$out"
  fi
  cp "$scratch/out" "$scratch/again.ir"
  if ! diff -u "$out" "$scratch/out"; then
    fail "$stem" "the graph differs"
  elif ! "$apnnc" "$scratch/again.ir" --target sm_90a --passes "" --emit ir 2>&1 | diff -u "$out" -; then
    fail "$stem" "it does not read back"
  else
    passed=$((passed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
