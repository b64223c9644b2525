# Sourced by run.sh and gpu.sh: named steps, their logs, and the closing line that counts them; what both ask the
# machine and apnnc for. Needs $logs, a folder.

passed=0 failed=0

# report NAME SECONDS SUCCEEDED: one line, and the log's end where the command failed.
report() {
  if [ "$3" = yes ]; then
    passed=$((passed + 1))
    printf '%-28sok      %3d s\n' "$1" "$2"
  else
    failed=$((failed + 1))
    printf '%-28sFAILED  %3d s\n' "$1" "$2"
    tail -n 60 "$logs/$1.log" | sed 's/^/    /'
  fi
}

# step NAME COMMAND...: runs it and reports.
step() {
  local name=$1 start=$SECONDS succeeded=no
  shift
  "$@" >"$logs/$name.log" 2>&1 </dev/null && succeeded=yes
  report "$name" $((SECONDS - start)) "$succeeded"
}

# beside NAME COMMAND...: a step that runs while those behind it do, for commands of one thread; `rejoin` waits for all
# of them and reports. Its seconds are those until then.
beside_names=() beside_pids=() beside_starts=()
beside() {
  local name=$1
  shift
  "$@" >"$logs/$name.log" 2>&1 </dev/null &
  beside_names+=("$name") beside_pids+=($!) beside_starts+=("$SECONDS")
}

rejoin() {
  local i succeeded
  for i in "${!beside_names[@]}"; do
    succeeded=no
    wait "${beside_pids[i]}" && succeeded=yes
    report "${beside_names[i]}" $((SECONDS - beside_starts[i])) "$succeeded"
  done
  beside_names=() beside_pids=() beside_starts=()
}

finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
  exit
}

# engines_of APNNC TARGET: those that --engine takes.
engines_of() { "$1" --list-engines --target "$2" | cut -d ' ' -f 1; }

# ptxas joins PATH where it stands in one of the usual places; false if there is none.
find_ptxas() {
  local folder
  for folder in "${CUDA_HOME:-/none}/bin" /usr/local/cuda/bin; do
    [ -x "$folder/ptxas" ] && PATH=$PATH:$folder
  done
  command -v ptxas >/dev/null
}
