#!/usr/bin/env bash
# Runs every finding, one after the other. Fails when one of them is no longer so.
set -euo pipefail
cd "$(dirname "$0")"
changed=()
for finding in *.sh; do
  case $finding in _venv.sh | run-all.sh) continue ;; esac
  printf '\n== %s\n' "$finding"
  "./$finding" || changed+=("$finding")
done
if [ ${#changed[@]} -gt 0 ]; then
  printf '\nno longer so, or did not run: %s\n' "${changed[*]}"
  exit 1
fi
printf '\nall findings still hold\n'
