#!/bin/sh
# The same input gives the same bytes, wherever and however apnnc runs: two working directories, two environments.
#   determinism.sh APNNC
if [ $# -ne 1 ]; then
  echo "usage: $0 APNNC" >&2
  exit 2
fi
case $1 in
/*) apnnc=$1 ;;
*) apnnc=$PWD/$1 ;;
esac
examples=$(cd "$(dirname "$0")/../../examples" && pwd) || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

check() {
  name=$1
  shift
  if "$@" >"$work/words" 2>&1; then
    passed=$((passed + 1))
  else
    echo "FAILED $name"
    sed 's/^/  /' "$work/words"
    failed=$((failed + 1))
  fi
}

# write FOLDER NAME NETWORK OPTION...: all forms of a compiled network, as FOLDER/NAME.*.
write() {
  (
    mkdir -p "$1" && cd "$1" || exit 1
    stem=$2
    shift 2
    exec "$apnnc" "$@" -o "$stem.cubin" -o "$stem.ptx" -o "$stem.c" -o "$stem.h" -o "$stem.o" -o "$stem.ir"
  )
}

# twice NAME NETWORK OPTION...
twice() {
  name=$1
  (export LANG=C TMPDIR="$work/tmp" && write "$work/here" "$@") &&
    (export LANG=tr_TR.UTF-8 LC_ALL=tr_TR.UTF-8 TZ=Asia/Kolkata TMPDIR="$work/another/folder" COLUMNS=9 \
      MALLOC_PERTURB_=77 \
      APNN_UNKNOWN=1 && write "$work/somewhere/deep down" "$@") || return 1
  for form in cubin ptx c h o ir; do
    cmp "$work/here/$name.$form" "$work/somewhere/deep down/$name.$form" || return 1
  done
}

mkdir -p "$work/tmp" "$work/another/folder"
ptxas_is_there() { "$apnnc" "$examples/digits/digits.apnn" -o "$work/there.cubin"; }
check ptxas ptxas_is_there
for target in sm_80 sm_90a; do
  check "digits $target" twice digits "$examples/digits/digits.apnn" --target $target --batch 8
done
for network in precisions windows graphs; do
  check "$network" twice $network "$examples/tour.apnn" --network $network --random-params 7
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
