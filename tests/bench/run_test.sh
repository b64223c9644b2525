#!/bin/sh
# The scripts themselves, on the CPU device: their tables, their lines, what they do when a layer fails; run.py with a
# peer of made-up times.
#   run_test.sh BUILD
here=$(cd "$(dirname "$0")" && pwd)
[ -x "${1:-}/bin/apnn-bench" ] || { echo "usage: $0 BUILD" >&2; exit 2; }
build=$(cd "$1" && pwd)
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2
passed=0
failed=0

# check NAME EXPECTED_STATUS COMMAND...: what it prints goes to out.
check() {
  name=$1
  expected=$2
  shift 2
  "$@" >out.new 2>&1
  status=$?
  mv out.new out # a check may look into what the one before has printed
  if [ "$status" -eq "$expected" ]; then
    passed=$((passed + 1))
  else
    echo "FAILED $name: status $status, not $expected"
    sed 's/^/  /' out
    failed=$((failed + 1))
  fi
}

# has NAME PATTERN: the last output has it, and still has it for the next check.
has() {
  cp out seen
  check "$1" 0 grep -q "$2" seen
  mv seen out
}

cat >peer <<'END'
#!/bin/sh
while [ $# -gt 0 ]; do
  [ "$1" = 3 ] && echo '{"op": "gemm", "shape": [3, 32, 32], "error": "made up"}' ||
    echo "{\"op\": \"gemm\", \"shape\": [$1, $2, $3], \"us\": 1000000, \"exact\": true}"
  shift 3
done
END
chmod +x peer
printf '# a comment\ngemm 8 24 64 w1a2 w2a2 --sample\nconv 2 6 5 16 24 3 2 w1a2 # 18 pixels\n' >good.txt
printf 'gemm 3 32 32 w1a1\ngemm 3 32 32 w9a1\ngemm 4 32 32 w1a1\n' >bad.txt
printf 'gemm 3 32 w1a1\n' >broken.txt
run() { suite=$1 && shift && python3 -B "$here/run.py" "$build" --device cpu --runs 1 --suite "$suite" "$@"; }

check good 0 run good.txt --peer ./peer --out lines
has counted '^3 measured, 0 failed$'
has row '^conv 2x6x5x16x24x3x2 .* u2>u2 .* 1,000,000.00 .* yes$'
has sampled '^gemm 8x24x64 .* sampled$'
cp lines out
has line '^{"command": "gemm 8 24 64 w2a2 --sample", .*"exact": "sampled", .*"peer_us": 1000000, "ratio": '
check filter 0 run good.txt --no-peer --filter '^conv'
has filtered '^1 measured, 0 failed$'
check goes_on 1 run bad.txt --peer ./peer
has failure 'w9a1: FAILED: expected a precision'
has peer_failure '^peer (3, 32, 32): made up$'
has rest '^2 measured, 1 failed$'
check no_peer 0 run good.txt --peer ./absent
has no_ratio '^3 measured, 0 failed$'
check broken_suite 1 run broken.txt --no-peer
has broken_line '^broken.txt:1: expected an operation'
check broken_filter 2 run good.txt --filter '('
check no_build 2 python3 -B "$here/run.py" ./absent

# sweep.py
sweep() { python3 -B "$here/sweep.py" "$build" --device cpu --budget 1 --jobs 2 "$@"; }
printf 'gemm 13 7 100 ternaryxu3 --out i32\nconv 2 6 5 16 24 3 2 w1a2\n' >exact.txt
check sweep 0 sweep --suite exact.txt --out lines
has sweep_exact ': 2 exact, 0 not exact, 0 failed; 0 slower than a portable engine by more than 3% and 0.1 us$'
has sweep_row '^gemm 13x7x100  *ternary u3>i32 .* mma_[bs][18] .* yes$'
cp lines out
has sweep_b1 '^{"command": "conv 2 6 5 16 24 3 2 w1a2", .*"engines_us": {.*"mma_b1": '
has sweep_s8 '^{"command": "conv 2 6 5 16 24 3 2 w1a2", .*"engines_us": {.*"mma_s8": '
check sweep_goes_on 1 sweep --suite bad.txt
has sweep_failure 'w9a1: FAILED: expected a precision'
has sweep_rest ': 2 exact, 0 not exact, 1 failed'
check sweep_late 1 sweep --suite exact.txt --minutes 0.0000001
has sweep_not_begun '^2 more were not begun within 1e-07 minutes$'
check sweep_random 0 sweep --count 4 --seed 3 --most-work 2000000
has sweep_seed '^seed 3: 4 exact'
check sweep_count 2 sweep --count 0
has sweep_count_error 'count: invalid positive int value'
check sweep_no_build 2 python3 -B "$here/sweep.py" ./absent

# choice.py
choice() { python3 -B "$here/choice.py" "$build" --device cpu --budget 1 --jobs 2 --candidates 2 "$@"; }
check choice 0 choice --suite exact.txt --out lines
has choice_exact '^2 exact, 0 not exact, 0 failed$'
has choice_share '^[0-2] of 2 ([0-9]*%) within 10% of the tuned time, geometric mean '
cp lines out
has choice_line '^{"command": "gemm 13 7 100 ternaryxu3 --out i32", .*"tuned": {.*"candidates": \[{.*"mma_s8", '
check choice_goes_on 1 choice --suite bad.txt
has choice_failure 'w9a1: FAILED: .*expected a precision'
has choice_rest '^2 exact, 0 not exact, 1 failed$'
check choice_random 0 choice --random 2 --seed 3 --most-work 100000
check choice_large 1 choice --filter '^gemm 16384'
has choice_left_out '^1 layers with 2^26 weights or more are left out (--large)$'
check choice_filter 2 choice --filter '('
check choice_candidates 2 choice --candidates 17

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
