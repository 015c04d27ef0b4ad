#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# sqlblock upgrade where things are odd: it is stopped twice, its log has gone
# meanwhile, or is another's.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh xz python3

use_memory
PATH=$top_builddir/tool:$PATH
cd "$tmp"

# unpack FORMAT NAME: a fixture, with its log if it has one, as work/db.
unpack ()
{
  local file
  rm -rf work
  mkdir work
  for file in "" -wal; do
    if [ -e "$srcdir/fixtures/format-$1/$2.sqlite$file.xz" ]; then
      xz -dc "$srcdir/fixtures/format-$1/$2.sqlite$file.xz" >"work/db$file"
    fi
  done
}

# --- Another's log ------------------------------------------------------------

# An older copy of the file is put beside the log of the upgraded one.
unpack 4 everything
cp work/db older
sqlblock upgrade -q work/db
start_nbdkit s "$plugin" work/db
nbdsh -c "h.set_export_name ('web')" -c "h.connect_unix ('$tmp/s')" \
  -c "h.pwrite (b'x' * 65536, 0)" -c "h.flush ()"
kill -9 "$nbdkit_pid"
wait "$nbdkit_pid" 2>/dev/null || :
[ -s work/db-wal ] || fail "the server has left no log"
cp older work/db
rm -f work/db-shm
expect_error "does not belong to" sqlblock list work/db
expect_error "does not belong to" sqlblock upgrade work/db
cmp older work/db

# --- Stopped ------------------------------------------------------------------

# kill_at COUNT: an upgrade ends when it writes for the COUNTth time; fails
# where it ends before.
kill_at ()
{
  local status=0
  strace -f -qq -o trace -e trace=pwrite64 \
    -e "inject=pwrite64:signal=KILL:when=$1" \
    sqlblock upgrade -q work/db 2>err || status=$?
  [ $status = 0 ] || [ $status = 137 ] || fail "killed at $1: $(cat err)"
  [ $status = 137 ]
}

# header: what stands in the file alone: its format, whether its counter is
# that of one with a mark, and whether it has the mark.
header ()
{
  python3 -c 'import sys
page = open (sys.argv[1], "rb").read (3 * 4096)
print (page[63], page[40] >= 0x40, page[-57:-53] == b"\x2f\x01\x06\x00")' \
    work/db
}

if ! strace -qq -o /dev/null -e inject=fsync:signal=KILL:when=99 true; then
  echo "no kills tried: strace does not work here"
  exit 0
fi

# First while the mark gets into the file, where page 1 is before page 3.
at=1
while unpack 4 log && kill_at $at && [ "$(header)" != "4 True False" ]; do
  at=$((at + 1))
done
[ "$(header)" = "4 True False" ] || fail "page 1 is not written before page 3"
mv work half

# Its log is needed now.
cp -r half work
rm work/db-wal
expect_error "is missing" sqlblock list work/db
expect_error "is missing" sqlblock upgrade work/db
xz -dc "$srcdir/fixtures/format-4/log.sqlite-wal.xz" >work/db-wal
expect_error "does not belong to" sqlblock list work/db

# Then when it goes on.
at=30
while rm -rf work && cp -r half work && kill_at $at; do
  seen="${seen-}$(header)
"
  sqlblock list work/db >out 2>&1 || fail "killed again at $at: $(cat out)"
  sqlblock upgrade -q work/db || fail "killed again at $at: it does not go on"
  at=$((at + 1))
done
sqlblock check -q work/db
for state in "4 True False" "4 True True" "6 True True"; do
  echo "$seen" | grep -qx "$state" || fail "no kill has left: $state"
done
