# Sourced by run.sh and gpu.sh: named steps, their logs, and the closing line that counts them. Needs $logs, a folder.

passed=0 failed=0

# step NAME COMMAND...: one line of report, and the log's end where the command fails.
step() {
  local name=$1 start=$SECONDS
  shift
  printf '%-28s' "$name"
  if "$@" >"$logs/$name.log" 2>&1 </dev/null; then
    passed=$((passed + 1))
    printf 'ok      %3d s\n' $((SECONDS - start))
  else
    failed=$((failed + 1))
    printf 'FAILED  %3d s\n' $((SECONDS - start))
    tail -n 60 "$logs/$name.log" | sed 's/^/    /'
  fi
}

finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
  exit
}

# ptxas joins PATH where it stands in one of the usual places; false if there is none.
find_ptxas() {
  local folder
  for folder in "${CUDA_HOME:-/none}/bin" /usr/local/cuda/bin; do
    [ -x "$folder/ptxas" ] && PATH=$PATH:$folder
  done
  command -v ptxas >/dev/null
}
