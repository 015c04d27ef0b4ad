#!/bin/bash
# Power cuts (powercut.c): a random load, then a cut at many places in what
# reached the files, with what was not synced lost, torn or reordered.  In
# several variants: transactions larger than the page cache, another program
# that reads for long, syncs, writes and reads that fail, two servers.  Then
# with a store that is broken on purpose, which must be noticed.
#
# Arguments go to power-cuts, such as --rounds 100 or SQLBLOCK_SEED in the
# environment to repeat a failed run.  SOAK=yes in the environment makes at
# least 600 cut points in each variant.

. "${srcdir:-$(dirname "$0")}/functions.sh"

power_cuts=$top_builddir/tests/power-cuts
[ -x "$power_cuts" ] || skip "power-cuts needs cmocka to be built"

rounds=1 seconds=120
if [ "${SOAK-}" = yes ]; then
  rounds=12 seconds=1800
fi

# run OPTION...: the last line has the counts.
run ()
{
  timeout --foreground "$seconds" "$power_cuts" --rounds "$rounds" "$@" \
    >"$tmp/out" 2>&1
}

while read -r variant; do
  # A list of words.
  run $variant "$@" || {
    cat "$tmp/out" >&2
    fail "power-cuts $variant"
  }
  echo "power-cuts $variant: $(tail -n 1 "$tmp/out")"
done <<'EOF2'

--small-caches
--pin
--fail-syncs
--fail-writes --small-caches
--fail-reads
--shared --small-caches
--small-caches --pin --block-size 512
EOF2

# What each breaks stands in powercut.c.  A cut that shows it is a matter
# of luck, hence several tries.
rounds=6
for broken in flush checkpoint database headers commit; do
  for try in 1 2 3 4 5; do
    status=0
    run --small-caches --break $broken || status=$?
    [ $status -eq 0 ] || break
  done
  [ $status -ne 0 ] && [ $status -ne 124 ] ||
    fail "a store with a broken $broken goes unnoticed (status $status)"
  echo "a store with a broken $broken is noticed (try $try)"
done
