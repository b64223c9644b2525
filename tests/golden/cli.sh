#!/bin/sh
# The program apnnc from outside: exit statuses, --eval, .ir in and out, nothing half-written.
#   cli.sh APNNC
if [ $# -ne 1 ]; then
  echo "usage: $0 APNNC" >&2
  exit 2
fi
case $1 in
/*) apnnc=$1 ;;
*) apnnc=$PWD/$1 ;;
esac
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2
passed=0
failed=0

# check NAME EXPECTED_STATUS COMMAND...: what it prints goes to out and err.
check() {
  name=$1
  expected=$2
  shift 2
  "$@" >out.new 2>err.new
  status=$?
  mv out.new out # a check may look into what the one before has printed
  mv err.new err
  if [ "$status" -eq "$expected" ]; then
    passed=$((passed + 1))
  else
    echo "FAILED $name: status $status, not $expected"
    sed 's/^/  /' err
    failed=$((failed + 1))
  fi
}

# npy FILE DESCR SHAPE BYTES: an array; BYTES are octal escapes.
npy() {
  header="{'descr': '$2', 'fortran_order': False, 'shape': $3, }"
  printf '\223NUMPY\001\000v\000%-117s\n' "$header" >"$1"
  printf '%b' "$4" >>"$1"
}

cat >net.apnn <<'END'
network n {
  input x : u4[4]
  input z : f32[2]
  a = x | relu | quantize(u2, scale=4)
  output y = a
  output s = sign(z)
  output m = argmax(x)
}
END
npy x.npy '|u1' '(2, 4)' '\0001\0002\0017\0000\0005\0005\0000\0014'
npy wide.npy '<i4' '(2, 4)' "$(printf '\\0%03o\\0000\\0000\\0000' 1 2 15 0 5 5 0 12)"
npy z.npy '<f4' '(2, 2)' '\0000\0000\0200\0077\0000\0000\0200\0277\0000\0000\0000\0000\0000\0000\0300\0177'
npy y_expected.npy '|u1' '(2, 4)' '\0000\0000\0003\0000\0001\0001\0000\0003'
npy s_expected.npy '<f4' '(2, 2)' '\0000\0000\0200\0077\0000\0000\0200\0277\0000\0000\0200\0077\0000\0000\0200\0277'
npy m_expected.npy '<i4' '(2, 1)' '\0002\0000\0000\0000\0003\0000\0000\0000'

check help 0 "$apnnc" --help
check version 0 "$apnnc" --version
check list_passes 0 "$apnnc" --list-passes
check list_engines 0 sh -c '"$1" --list-engines >engines && cut -d " " -f 1 engines | grep -qx wgmma_b1' sh "$apnnc"
check list_engines_of_target 0 sh -c '"$1" --list-engines --target=sm_80 >fewer && grep -q ^gemv_s8 fewer' sh "$apnnc"
check list_engines_of_others 1 grep -q wgmma fewer
for engine in $(cut -d ' ' -f 1 engines); do check "engine_$engine" 0 "$apnnc" net.apnn --engine "$engine"; done
check check_only 0 "$apnnc" net.apnn
check eval 0 "$apnnc" net.apnn --eval x.npy z.npy -o y.npy -o s.npy -o m.npy
for array in y s m; do check "eval_$array" 0 cmp $array.npy ${array}_expected.npy; done
check eval_integers 0 "$apnnc" net.apnn --eval wide.npy z.npy -o y2.npy -o s2.npy -o m2.npy
check eval_integers_same 0 cmp y2.npy y_expected.npy
printf 'network copy {\n  input z : f32[2]\n  output y = reshape(z, [1, 2])\n}\n' >copy.apnn
npy nan.npy '<f4' '(1, 2)' '\0001\0000\0240\0177\0105\0043\0301\0377'
npy nan_expected.npy '<f4' '(1, 1, 2)' '\0001\0000\0240\0177\0105\0043\0301\0377'
check eval_keeps_nans 0 "$apnnc" copy.apnn --eval nan.npy -o nan_seen.npy
check eval_keeps_nans_same 0 cmp nan_seen.npy nan_expected.npy
for pass in fold thresholds fuse launch; do
  check "eval_after_$pass" 0 "$apnnc" net.apnn --stop-after $pass --eval x.npy z.npy -o y3.npy -o s3.npy -o m3.npy
  for array in y s m; do check "eval_after_${pass}_$array" 0 cmp ${array}3.npy ${array}_expected.npy; done
done
check write_ir 0 "$apnnc" net.apnn -o net.ir
check read_ir 0 "$apnnc" net.ir --eval x.npy z.npy -o y4.npy -o s4.npy -o m4.npy
check read_ir_same 0 cmp y4.npy y_expected.npy
for option in --network=n --random-params=1 -Wunused-params; do
  check "ir_with_$option" 2 "$apnnc" net.ir "$option"
  check "ir_with_${option}_says" 0 grep -q -e "^apnnc: ${option%%=*} has no meaning for 'net.ir'" err
done
check emit_ir 0 "$apnnc" net.apnn --emit=ir
check emit_ir_text 0 grep -q '^graph @n {' out
check print_after 0 "$apnnc" net.apnn --print-after=fuse
check several_outputs 0 "$apnnc" net.apnn -o both.ptx --target sm_80 -o both.ir --batch 4
check several_outputs_ptx 0 grep -q '^\.target sm_80' both.ptx
check explain 0 "$apnnc" net.apnn --explain

npy range.npy '|u1' '(1, 4)' '\0001\0002\0020\0000'
npy shape.npy '|u1' '(2, 3)' '\0001\0002\0003\0001\0002\0003'
npy real.npy '<f8' '(1, 4)' "$(printf '\\0000%.0s' 1 2 3 4 5 6 7 8 1 2 3 4 5 6 7 8 1 2 3 4 5 6 7 8 1 2 3 4 5 6 7 8)"
npy one.npy '<f4' '(1, 2)' '\0000\0000\0000\0000\0000\0000\0000\0000'
for array in range shape real; do
  check "refuse_$array" 1 "$apnnc" net.apnn --eval $array.npy z.npy -o none.npy -o none2.npy -o none3.npy
  check "refuse_${array}_says" 0 grep -q "error\[E0106\]: '$array.npy'" err
done
check refuse_batches 1 "$apnnc" net.apnn --eval x.npy one.npy -o none.npy -o none2.npy -o none3.npy
check refuse_count 1 "$apnnc" net.apnn --eval x.npy -o none.npy -o none2.npy -o none3.npy
check refuse_missing 1 "$apnnc" net.apnn --eval absent.npy z.npy -o none.npy -o none2.npy -o none3.npy
check refuse_written 1 test -e none.npy
check no_network 1 "$apnnc" absent.apnn
check folder 1 "$apnnc" /
check unwritable 1 "$apnnc" net.apnn -o /absent/net.ir

echo 'network broken {' >broken.apnn
check broken 1 "$apnnc" broken.apnn -o broken.ptx
check broken_leaves_nothing 1 test -e broken.ptx
printf 'graph @broken {\n' >broken.ir
check broken_ir 1 "$apnnc" broken.ir
check no_arguments 2 "$apnnc"
check two_networks 2 "$apnnc" net.apnn net.ir
check no_value 2 "$apnnc" net.apnn -o
check value_unwanted 2 "$apnnc" net.apnn --explain=yes
check bad_engine 2 "$apnnc" net.apnn --engine tpu
check bad_seed 2 "$apnnc" net.apnn --random-params -1
check eval_without_arrays 2 "$apnnc" net.apnn --eval -o y.npy
check arrays_without_eval 2 "$apnnc" net.apnn x.npy
check twice 2 "$apnnc" net.apnn -o a.ptx -o a.ptx
check stop_after_several 2 "$apnnc" net.apnn --stop-after fold,fuse
check stop_after_nothing 2 "$apnnc" net.apnn --stop-after=
check stop_after_unknown 2 "$apnnc" net.apnn --stop-after all
# refuse NAME WORDS OPTION...: wrong use, told in these words.
refuse() {
  name=$1
  words=$2
  shift 2
  check "$name" 2 "$apnnc" net.apnn "$@"
  check "${name}_says" 0 grep -q -e "$words" err
}
refuse tune_without_file '--tune lacks its value' --tune
refuse tuning_without_file '--tuning lacks its value' --tuning
refuse tune_candidates_none '--tune-candidates takes a number from 1 to 16' --tune=t.tune --tune-candidates 0
refuse tune_candidates_many '--tune-candidates takes a number from 1 to 16' --tune=t.tune --tune-candidates 17
refuse device_alone '--device has no meaning without --tune' --device cpu
refuse tune_candidates_alone '--tune-candidates has no meaning without --tune' --tune-candidates 2
for beside in -o=net.ptx --tuning=t.tune --explain --emit=ir --passes=fold --stop-after=fuse --print-after=fuse \
  --engine=direct; do
  refuse "tune_with_$beside" "leave out ${beside%%=*}" --tune=t.tune "$beside"
done
check tune_wrote_nothing 1 test -e t.tune
check tuning_absent 1 "$apnnc" net.apnn --tuning absent.tune -o tuned.ptx
check tuning_absent_says 0 grep -q "error\[E0102\]: cannot read 'absent.tune'" err
check tune_device 1 "$apnnc" net.apnn --tune=t.tune --device=tpu
check tune_device_says 0 grep -q 'tuning failed: unknown device "tpu"' err
printf 'apnnc tuning 1\nlayer : engine=direct tile=1,2\nlayer\n' >broken.tune
for option in --tuning --tune; do
  check "broken_with_$option" 1 "$apnnc" net.apnn $option broken.tune
  check "broken_with_${option}_says" 0 sh -c 'grep -q "^broken.tune:2:31: error" err && grep -q "^broken.tune:3:6: error" err'
done
printf 'apnnc tuning 1\nsome other layer : engine=direct\n' >other.tune
check untuned 0 "$apnnc" net.apnn -o untuned.ptx
check tuning_other 0 "$apnnc" net.apnn --tuning other.tune -o tuned.ptx
check tuning_other_quiet 1 test -s err
check tuning_other_same 0 cmp untuned.ptx tuned.ptx

if [ -e /dev/full ]; then
  for option in --help --version --list-passes --list-engines; do
    check "full$option" 1 sh -c '"$1" "$2" >/dev/full' sh "$apnnc" "$option"
  done
fi
long=$(printf '%0250d' 0).ptx
check long_name 0 "$apnnc" net.apnn -o "$long"
check long_name_written 0 test -s "$long"
check leftovers 1 sh -c 'ls -A | grep -q -e part -e tmp'

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
