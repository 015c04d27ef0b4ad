#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Random histories of two databases, of which one is sent to the other: see
# lib/replicas.py. The argument --seed N, or SEED=N in the environment, repeats
# a run. SOAK=yes in the environment makes it 40 runs, each three times as long.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
seed=${SEED:-$RANDOM}
[ "${1-}" != --seed ] || seed=$2
runs=1 steps=24
[ "${SOAK-}" = yes ] && runs=40 steps=72

for ((run = 0; run < runs; run++)); do
  echo "seed $((seed + run))"
  mkdir "$tmp/$run"
  timeout --foreground 600 python3 "$srcdir/lib/replicas.py" "$tmp/$run" \
    "$plugin" "$((seed + run))" "$steps" || fail "seed $((seed + run))"
  rm -rf "${tmp:?}/$run"
done
