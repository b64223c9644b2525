#!/bin/sh
# Broken networks and what the compiler says of them: every NAME.apnn here is compiled, and standard error must be
# NAME.err to the byte. A first line "# apnnc: OPTIONS" gives options. The exit status must be 1 where errors are
# reported, 0 where only warnings are, 2 for wrong use.
#   run.sh APNNC [--update]
# --update writes the .err files anew: read the difference before you keep it.
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
seen=$(mktemp) || exit 2
trap 'rm -f "$seen"' EXIT
passed=0
failed=0

for network in *.apnn; do
  name=${network%.apnn}
  options=$(sed -n '1s/^# apnnc: //p' "$network")
  # shellcheck disable=SC2086
  "$apnnc" "$network" $options >/dev/null 2>"$seen"
  status=$?
  expected=0
  grep -q 'error\[' "$seen" && expected=1
  grep -q '^apnnc: ' "$seen" && expected=2
  if [ "$status" -ne "$expected" ]; then
    echo "FAILED $name: exit status $status, not $expected"
    failed=$((failed + 1))
  elif [ -n "$update" ]; then
    cp "$seen" "$name.err"
    passed=$((passed + 1))
  elif cmp -s "$seen" "$name.err"; then
    passed=$((passed + 1))
  else
    echo "FAILED $name"
    diff "$name.err" "$seen" | sed 's/^/  /'
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
