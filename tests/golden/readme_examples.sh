#!/bin/sh
# Every example of frontend/README.md in a fence marked apnn compiles as it stands, with random parameters, and its
# graph reads back from its text form.
#   readme_examples.sh APNNC
if [ $# -ne 1 ]; then
  echo "usage: $0 APNNC" >&2
  exit 2
fi
readme=$(dirname "$0")/../../frontend/README.md
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
awk -v folder="$work" '
  /^```apnn$/ { file = sprintf("%s/example%02d.apnn", folder, ++count); next }
  /^```/ { if (file) close(file); file = ""; next }
  file { print > file }' "$readme"

passed=0
failed=0
for example in "$work"/*.apnn; do
  [ -e "$example" ] || continue
  name=$(sed -n 's/^network \([^ ]*\).*/\1/p' "$example")
  if "$1" "$example" --random-params 1 -o "$work/written.ir" >"$work/said" 2>&1 && [ ! -s "$work/said" ] &&
    "$1" "$work/written.ir" -o "$work/again.ir" >>"$work/said" 2>&1 && cmp -s "$work/written.ir" "$work/again.ir" &&
    "$1" "$example" --random-params 1 --stop-after=canonicalize >>"$work/said" 2>&1; then
    passed=$((passed + 1))
  else
    echo "FAILED $name"
    sed 's/^/  /' "$work/said"
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
