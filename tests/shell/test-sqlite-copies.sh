#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Copies that SQLite's own means make of a database, and a journal mode that
# was changed: a server takes them, a check finds nothing wrong in them, and
# they show the same.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh nbdcopy sqlite3 python3 sha256sum

PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=disk.sqlite

# sums FILE [SOCKET]: checksums of all that it shows.
sums ()
{
  local disk
  for disk in web web@monday zstd; do
    nbdkit -r -U - "$plugin" "$1" export="$disk" --run \
      'nbdcopy "$uri" - | sha256sum'
  done
}

# write SEED: change the disks; a server on $tmp/s has them.
write ()
{
  local disk
  for disk in web zstd; do
    nbdsh -u "$(uri s "$disk")" -c "
import random
random.seed($1)
for i in range(40):
    h.pwrite(random.randbytes(5000) + bytes(3000), random.randrange(1 << 20))
h.flush()"
  done
}

# expect_copy FILE: it is as good as $db, whose sums are in the file wanted.
expect_copy ()
{
  [ "$(sums "$1")" = "$(cat wanted)" ] || fail "$1: it does not show the same"
  sqlblock check "$1" >out 2>&1 || {
    cat out
    fail "$1: a check finds problems"
  }
  grep -q " 0 problems" out || fail "$1: a check does not say 0 problems"
  # For writing, too, and what it then has is right.
  nbdkit -U - "$plugin" "$1" export=web --run \
    'nbdsh -u "$uri" -c "h.pwrite(bytes([7] * 4096), 8192)"'
  sqlblock check -q "$1" || fail "$1: a check finds problems after a write"
}

# copy NAME: by all means, into NAME-*.sqlite.
copy ()
{
  rm -f "$1"-*.sqlite
  sqlite3 "$db" ".backup $1-shell.sqlite"
  python3 - "$db" "$1-python.sqlite" <<'EOF2'
import sqlite3, sys
copy = sqlite3.connect(sys.argv[2])
sqlite3.connect(sys.argv[1]).backup(copy)
copy.close()
EOF2
  sqlite3 "$db" "VACUUM INTO '$1-vacuum.sqlite'"
  sqlite3 -readonly "$db" ".backup $1-readonly.sqlite"
}

sqlblock create -q "$db" web --size=2M
sqlblock create -q "$db" zstd --size=2M --compression=zstd
start_nbdkit s "$plugin" "$db"
write 1
sqlblock snapshot create -q "$db" web@monday
write 2

# From a live server, whose log has some of it.
[ -s "$db-wal" ] || fail "there is no log"
sums "$db" >wanted
copy live
expect_error "locked" sqlite3 "$db" "PRAGMA journal_mode = delete"
write 3
stop_nbdkit
for file in live-*.sqlite; do
  expect_copy "$file"
done

# From a file at rest.
sums "$db" >wanted
copy rest
for file in rest-*.sqlite; do
  expect_copy "$file"
done

# Over a copy that was there before, so that its counters are others.
sqlite3 "$db" ".backup rest-shell.sqlite"
expect_copy rest-shell.sqlite

# A copy that a server has taken is a database of its own: killed, it needs its
# log, and only that. A copy of it, while it is open, is complete again.
sqlite3 "$db" ".backup mine.sqlite"
start_nbdkit s "$plugin" mine.sqlite
nbdsh -u "$(uri s web)" -c 'h.pwrite(bytes([1] * 4096), 0); h.flush()'
cp "$tmp/mine.sqlite-wal" first-wal
sqlite3 mine.sqlite ".backup second.sqlite"
nbdsh -u "$(uri s web)" -c 'h.pwrite(bytes([2] * 4096), 0); h.flush()'
kill_nbdkit
cp mine.sqlite lost.sqlite
expect_error "is missing" sqlblock list lost.sqlite
cp first-wal second.sqlite-wal
expect_error "does not belong" sqlblock list second.sqlite
rm second.sqlite-wal
sqlblock check -q mine.sqlite || fail "a copy is refused after a kill"
sums second.sqlite >wanted
expect_copy second.sqlite

# A backup that was cut off, whose journal has gone, is none.
start_nbdkit s "$plugin" "$db"
nbdsh -u "$(uri s web)" -c 'h.pwrite(bytes([3] * 4096), 0); h.flush()'
sqlite3 "$db" ".backup cut.sqlite"
stop_nbdkit
truncate -s -4096 cut.sqlite
expect_error "is missing" sqlblock list cut.sqlite

# Another journal, and back; and a server switches back by itself.
sums "$db" >wanted
for mode in delete truncate persist; do
  cp "$db" mode.sqlite
  [ "$(sqlite3 mode.sqlite "PRAGMA journal_mode = $mode")" = "$mode" ] ||
    fail "the journal mode is not $mode"
  cp mode.sqlite back.sqlite
  sqlite3 back.sqlite "PRAGMA journal_mode = wal" >/dev/null
  expect_copy mode.sqlite
  expect_copy back.sqlite
done
expect_copy "$db"
