#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Power cuts (powercut.c): a random load, then a cut at many places in what
# reached the files, with what was not synced lost, torn or reordered.  In
# several variants: transactions larger than the page cache, another program
# that reads for long, syncs, writes and reads that fail, two servers, and a
# manager that takes snapshots, clones, rolls back, reclaims and so on, in the
# server or by commands beside it.  And with a store that is broken on purpose,
# which must be noticed.  The same in an upgrade of files of earlier formats.
#
# Arguments go to power-cuts, such as --rounds 100; SQLBLOCK_SEED in the
# environment begins as a failed run did.  SOAK=yes in the environment makes
# at least 340 cut points in each variant.  Where TMPDIR is set, the files
# of a failed run are kept there.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"

power_cuts=$top_builddir/tests/power-cuts
[ -x "$power_cuts" ] || skip "power-cuts needs cmocka to be built"

use_memory

rounds=1 seconds=900
if [ "${SOAK-}" = yes ]; then
  rounds=12 seconds=1800
fi

# run OPTION...: the last line has the counts.
run ()
{
  timeout --foreground "$seconds" "$power_cuts" "$@" >"$tmp/out" 2>&1
}

# notices WHAT OPTION...: a check fails, and what it was about is kept. With
# cmocka 1 the program then ends with 255, with cmocka 2 with 1.
notices ()
{
  local what=$1 status=0
  shift
  TMPDIR=$tmp run "$@" || status=$?
  if [ $status -ne 255 ] && [ $status -ne 1 ] ||
    ! grep -q "the files are kept in" "$tmp/out"; then
    cat "$tmp/out" >&2
    fail "$what goes unnoticed (status $status)"
  fi
  echo "$what is noticed"
}

# What each breaks stands in load.h.  With these options it is found within
# seconds, which ends the rounds.
while read -r broken options; do
  # Options are a list of words.
  notices "a store with a broken $broken" --rounds 300 --break "$broken" \
    $options
done <<'EOF'
flush
checkpoint
database --pin
headers --small-caches
commit
forget --small-caches --shared --fail-reads --block-size 16384
change --manage
reclaim --manage
snapshot --manage
EOF

export TMPDIR="${TMPDIR:-$tmp}"
while read -r variant; do
  [[ $variant != *--encrypted* ]] || can_encrypt || continue
  run --rounds "$rounds" $variant "$@" || {
    cat "$tmp/out" >&2
    fail "power-cuts $variant"
  }
  echo "power-cuts $variant: $(tail -n 1 "$tmp/out")"
done <<'EOF'

--small-caches
--pin
--fail-syncs
--fail-syncs --fail-writes --fail-reads --small-caches --pin
--fail-writes --small-caches
--durable --places 20
--durable --fail-syncs --fail-writes --small-caches --places 20
--shared --small-caches --fail-reads --block-size 16384
--shared --pin --block-size 512
--manage --places 30
--manage --small-caches --places 30
--manage --pin --places 30
--manage --fail-syncs --places 30
--commands --fail-syncs --places 30
--manage --fail-syncs --fail-writes --fail-reads --small-caches --pin --places 30
--encrypted --small-caches --places 30
--encrypted --manage --fail-syncs --places 30
EOF

# Upgrades of files of earlier formats.  One by VACUUM INTO is not among them:
# the rig knows no journal.
unpack ()
{
  rm -f "$tmp"/old*
  for file in "" -wal; do
    if [ -e "$srcdir/fixtures/$1.sqlite$file.xz" ]; then
      xz -dc "$srcdir/fixtures/$1.sqlite$file.xz" >"$tmp/old$file"
    fi
  done
}

while read -r broken fixture; do
  unpack "$fixture"
  notices "an upgrade with a broken $broken" --rounds 100 --break "$broken" \
    --upgrade "$tmp/old"
done <<'EOF'
flush format-4/log
checkpoint format-4/log
flush format-5/log
checkpoint format-5/log
EOF

upgrades=2 fixtures="format-4/log format-5/ended" places=12
if [ "${SOAK-}" = yes ]; then
  upgrades=20 places=60
  fixtures=$(cd "$srcdir/fixtures" && find . -name '*.sums' |
    sed -n 's/.sums$//p' | grep -Ev 'format-6|rollback' | sort)
fi
for fixture in $fixtures; do
  unpack "$fixture"
  for variant in "" "--fail-syncs --fail-writes --small-caches"; do
    run --upgrade "$tmp/old" --rounds "$upgrades" --places "$places" \
      $variant "$@" || {
      cat "$tmp/out" >&2
      fail "power-cuts --upgrade $fixture $variant"
    }
    echo "power-cuts --upgrade $fixture $variant: $(tail -n 1 "$tmp/out")"
  done
done
