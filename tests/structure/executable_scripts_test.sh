#!/usr/bin/env bash
# executable_scripts_test.sh SOURCES: what begins with #! can be started by its name.
set -uo pipefail
cd "$1" || exit 1
checked=0 wrong=0
while read -r file; do
  [ "$(head -c 2 "$file")" = '#!' ] || continue
  checked=$((checked + 1))
  [ -x "$file" ] && continue
  echo "$file begins with #! and is not executable: chmod +x $file"
  wrong=1
done < <(find bench launch tests .ci -type f \( -name '*.py' -o -name '*.sh' -o -name '*.sbatch' \) -not -path '*/__pycache__/*')
[ "$checked" -gt 20 ] || { echo "only $checked scripts were found"; exit 1; }
exit $wrong
