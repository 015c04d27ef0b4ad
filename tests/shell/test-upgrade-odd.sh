#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# sqlblock upgrade where things are odd: it is stopped twice, its log has gone
# or is another's, others have the file open, a view has the name of a table.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh xz python3 sqlite3

use_memory
PATH=$top_builddir/tool:$PATH
cd "$tmp"

# unpack FORMAT NAME: a fixture, with its log if it has one, as work/db.
unpack ()
{
  rm -rf work
  mkdir work
  unpack_fixture "$srcdir/fixtures/format-$1/$2" work/db
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

# What another program has moved out of the log, and removed, is missing to us;
# who takes the file without it can go on.
unpack 5 log
sqlite3 work/db "SELECT count (*) FROM disk" >/dev/null
[ ! -e work/db-wal ] || fail "sqlite3 leaves the log"
expect_error "check --accept" sqlblock upgrade work/db
sqlblock check -q --accept work/db
sqlblock upgrade -q work/db
sqlblock check -q work/db

# --- What is in the way -------------------------------------------------------

# refused TEXT: with a dry run, too, and nothing is changed.
refused ()
{
  cp work/db before
  expect_error "$1" sqlblock upgrade --dry-run work/db
  expect_error "$1" sqlblock upgrade work/db
  cmp before work/db
}

# A view does no harm, but it can have the name of what is new.
for format in 4 5; do
  for view in property Property mark Mark last was; do
    [ "$format ${view,}" != "5 mark" ] || continue
    unpack $format everything
    change work/db "CREATE VIEW $view AS SELECT 1"
    sqlblock list work/db >out
    case $view in
    [Pp]roperty | [Mm]ark)
      refused "view '$view'"
      change work/db "DROP VIEW $view"
      ;;
    esac
    sqlblock upgrade -q work/db
    sqlblock check -q work/db
  done
done

# Pages of which none can be that of the mark.
unpack 4 large
change work/db "PRAGMA journal_mode = DELETE" >/dev/null
change work/db "PRAGMA auto_vacuum = NONE"
sqlite3 work/db "PRAGMA auto_vacuum = NONE; VACUUM"
"$top_builddir/tests/seal" work/db
sqlblock list work/db >out
refused "another program has made the file anew"

# Several names, and what cannot be written.
unpack 5 everything
ln work/db work/other
refused "several names"
rm work/other
read_only ()
{
  expect_error "read-only" "$@" sqlblock upgrade --dry-run work/db
  expect_error "read-only" "$@" sqlblock upgrade work/db
}
mounted_read_only work read_only

# A server has no lock of SQLite on a file in rollback mode while nobody reads.
for format in 4 5; do
  for mode in wal delete; do
    unpack $format everything
    change work/db "PRAGMA journal_mode = $mode" >out
    grep -q $mode out || fail "the mode is $(cat out)"
    start_nbdkit s -r "$plugin" work/db
    await_answer s
    refused "another program has the database open"
    stop_nbdkit
    sqlblock upgrade -q work/db
  done
done

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
