#!/bin/sh
# --tune on the CPU device, and compilations that use its file: the choices are carried out, every output has the same
# bytes, and the same file gives the same compiled bytes.
#   tune.sh APNNC
if [ $# -ne 1 ]; then
  echo "usage: $0 APNNC" >&2
  exit 2
fi
case $1 in
/*) apnnc=$1 ;;
*) apnnc=$PWD/$1 ;;
esac
run=$(dirname "$apnnc")/apnn-run
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2
passed=0
failed=0

# check NAME COMMAND...: what it prints goes to out and err.
check() {
  name=$1
  shift
  "$@" >out.new 2>err.new
  status=$?
  mv out.new out # a check may look into what the one before has printed
  mv err.new err
  if [ $status -eq 0 ]; then
    passed=$((passed + 1))
  else
    echo "FAILED $name"
    sed 's/^/  /' out err
    failed=$((failed + 1))
  fi
}

# Two layers of one kind, one that reads the network's input, a residual addition, signed numbers of which wgmma_b1 keeps
# twice as many channels as there are, a product.
cat >net.apnn <<'END'
network net {
  input image : u2[5, 5, 32]
  a = conv2d(image, 32, kernel=3, pad=1, w=bipolar) | batchnorm(name="bn1") | relu | quantize(u2)
  b = conv2d(a, 32, kernel=3, pad=1, w=bipolar) | batchnorm(name="bn2") | relu | quantize(u2)
  c = conv2d(b, 32, kernel=3, pad=1, w=bipolar) | batchnorm(name="bn3") | relu | quantize(u2)
  d = add(conv2d(c, 32, kernel=1, w=i4) | batchnorm(name="bn4"), b) | relu | quantize(u2)
  e = conv2d(d, 64, kernel=1, w=i4) | batchnorm(name="bn5") | quantize(i6)
  f = conv2d(e, 32, kernel=1, w=i4) | batchnorm(name="bn6") | quantize(u2)
  output logits = linear(flatten(f), 10, w=i8)
}
END
# an array of zeros, ones, twos and threes: 4 x 5 x 5 x 32
{
  printf '\223NUMPY\001\000v\000%-117s\n' "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 5, 5, 32), }"
  awk 'BEGIN { for (i = 0; i < 3200; i++) printf "%s", substr("abcd", (i * i + int(i / 7)) % 4 + 1, 1) }' |
    tr 'abcd' '\000\001\002\003'
} >x.npy

compile() { "$apnnc" net.apnn --random-params 3 --batch 4 "$@"; }
tune() { "$apnnc" net.apnn --random-params 3 --batch 4 --device cpu "$@"; }
same() { "$run" "$1" --device cpu -i x.npy -o "$2" && cmp expected.npy "$2"; }
# used FILE: as many engines as there are layers of its kinds come from the file
used() { compile --tuning "$1" --explain >explained && [ "$(grep -c 'engine .* as the tuning file says' explained)" -eq 7 ]; }
# planned FILE: every engine and tile of the file stands in the plan, and none is warned of
planned() {
  compile --tuning "$1" --print-after=tile >plan 2>words && [ ! -s words ] || return 1
  sed -n 's/.* : \(engine=[^#]*[^ #]\).*/\1/p' "$1" >choices && [ -s choices ] || return 1
  while read -r line; do grep -q -F -e " $line" plan || return 1; done <choices
}
lines() { [ "$(grep -c "$2" "$1")" -eq "$3" ]; }

check reference "$apnnc" net.apnn --random-params 3 --eval x.npy -o expected.npy
check tune tune --tune=net.tune --tune-candidates 2
check trials grep -q 'mma_b1 .*us (so far' err
check first_line sh -c '[ "$(head -n 1 net.tune)" = "apnnc tuning 1" ]'
check layers lines net.tune '^sm_90a batch=4 conv2d' 6
check input lines net.tune 'conv2d(input u2' 1
check residual lines net.tune 'thresholds(u2\[N,5,5,32\]) ->' 1
check sorted sh -c 'sed 1d net.tune | LC_ALL=C sort -c'
check used used net.tune
check planned planned net.tune
check write compile --tuning net.tune -o tuned.ptx
check same_bits same tuned.ptx tuned.npy

# Another target's choices come beside; what was there stays as it is.
cp net.tune before.tune
check add tune --target sm_80 --tune net.tune --tune-candidates 1
check added lines net.tune '^sm_80 ' 6
grep '^sm_90a' net.tune >kept
check kept sh -c 'sed 1d before.tune | cmp - kept'
check again tune --tune net.tune --tune-candidates 1
check replaced lines net.tune '^sm_90a ' 6

# Written by hand: engines that the model does not choose.
for choice in 'direct' 'mma_s8' 'mma_b1 tile=32,32,8,2,1,2,1,0' 'wgmma_b1 tile=64,32,4,4,1,3,1,1' 'wgmma_s8'; do
  sed "s/ : engine=.*/ : engine=$choice/" before.tune >by_hand.tune
  check "by_hand_used $choice" used by_hand.tune
  check "by_hand_plan $choice" planned by_hand.tune
  check "by_hand_write $choice" compile --tuning by_hand.tune -o by_hand.ptx
  check "by_hand_same $choice" same by_hand.ptx by_hand.npy
done

# What cannot be is a warning, and the model chooses.
sed 's/ : engine=.*/ : engine=mma_b1 tile=48,32,9,1,1,2,1,0/' before.tune >impossible.tune
check impossible compile --tuning impossible.tune -o impossible.ptx
check impossible_says grep -q '^impossible.tune:2:1: warning\[W0609\]' err
check impossible_same same impossible.ptx impossible.npy

# The same file gives the same bytes, wherever it lies and however its lines are ordered.
mkdir there
{
  head -n 1 before.tune
  sed 1d before.tune | LC_ALL=C sort -r
} >there/other.tune
check twice compile --tuning there/other.tune -o twice.ptx
check twice_same cmp tuned.ptx twice.ptx

# An output that no file can take leaves what was there.
check unwritable sh -c '! "$1" net.apnn --random-params 3 --device cpu --tune-candidates 1 --tune /absent/net.tune' sh "$apnnc"
check leftovers sh -c '! ls -A | grep -q -e part -e tmp'

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
