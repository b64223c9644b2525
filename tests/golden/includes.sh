#!/usr/bin/env bash
# Data flows one way: a file includes what its folder may know, and nothing above it.
#
#   tests/golden/includes.sh SOURCES     SOURCES: the project's folder
set -uo pipefail
cd "${1:?usage: includes.sh SOURCES}" || exit 2

# may_include FILE: a pattern of the files of other folders that FILE may include.
may_include() {
  case $1 in
    ir/*) echo none ;;
    passes/*) echo 'ir/*' ;;
    backend/*) echo '@(ir/*|runtime/apnn_file.h)' ;;
    frontend/tune*.c) echo '@(@(ir|passes|backend)/*|runtime/@(measure|network).h)' ;; # --tune runs what it compiles
    frontend/*) echo '@(ir|passes|backend)/*' ;;
    runtime/bench/*) echo '@(ir|passes|backend|frontend|runtime)/*' ;; # apnn-bench layer does too
    runtime/*) echo none ;;
    *) echo 'no rule' ;;
  esac
}

shopt -s extglob
wrong=0 seen=0
while IFS=: read -r file include; do
  include=${include#*\"} include=${include%%\"*}
  seen=$((seen + 1))
  included=$(realpath -m --relative-to=. "$(dirname "$file")/$include")
  # shellcheck disable=SC2053 # a pattern
  [[ $included == $(may_include "$file") ]] && continue
  echo "$file includes $included" >&2
  wrong=1
done < <(grep -rH '^ *# *include "\.\./' --include='*.[chly]' --include='*.def' ir passes backend frontend runtime)
[ "$seen" -gt 50 ] || { echo "only $seen includes of other folders were found" >&2; exit 1; }
exit "$wrong"
