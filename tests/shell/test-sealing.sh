#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Pages that the sqlite3 shell moves from the log to the database have no
# checksum: check counts them, a server gives them one again, so does check
# --repair; but not while something is wrong.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh sqlite3 python3

PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=disk.sqlite

# write SEED: change most of the disk; a server on $tmp/s has it.
write ()
{
  nbdsh -u "$(uri s)" -c "
import random
random.seed($1)
for i in range(5):
    h.pwrite(random.randbytes(1 << 20), i << 20)
h.flush()"
}

# without FILE: how many pages have no checksum, as check says, and as the
# file says.
without ()
{
  local said
  said=$(sqlblock check -q --json "$1" |
    python3 -c 'import json, sys
print(json.load(sys.stdin)["pages_without_checksum"])') || :
  [ "$said" = "$(count "$1")" ] ||
    fail "check says $said pages, but there are $(count "$1")"
  echo "$said"
}

# count FILE: pages without a checksum, where there is no log, but for those
# that are all zeroes.
count ()
{
  python3 - "$1" <<'EOF2'
import sys
data = open(sys.argv[1], "rb").read()
size = int.from_bytes(data[16:18], "big")
pages = [data[at:at + size] for at in range(0, len(data), size)]
print(sum(page[-8:] == bytes(8) and any(page) for page in pages))
EOF2
}

# checkpoint FILE: as another program, until all is in the database.
checkpoint ()
{
  local i
  for i in $(seq 50); do
    [ "$(sqlite3 "$1" "SELECT count (*) FROM disk;
      PRAGMA wal_checkpoint (TRUNCATE)" | tail -n 1)" != "0|0|0" ] || return 0
    sleep 0.1
  done
  fail "the log is still there"
}

sqlblock create -q "$db" disk --size=10M --compression=none
[ "$(without "$db")" = 0 ] || fail "a new file has pages without a checksum"
start_nbdkit s "$plugin" "$db"
write 1
checkpoint "$db"
cp "$db" left.sqlite
# A copy of what a server has open says that its log is missing.
sqlblock check -q --accept left.sqlite
cp left.sqlite bad.sqlite

# What was copied in between.
pages=$(without left.sqlite)
[ "$pages" -gt 1000 ] || fail "only $pages pages without a checksum"
sqlblock check left.sqlite 2>&1 | grep -q "$pages pages without a checksum" ||
  fail "check does not say it to people"

# The server gives them one, by itself.
has_all ()
{
  [ "$(count "$db")" = 0 ]
}
wait_for has_all
wait_for grep -q "each has one again" s.log
stop_nbdkit
[ "$(without "$db")" = 0 ] || fail "pages are left without a checksum"

# So does a server that starts with such a file, when a client comes that may
# write; one that is read-only writes nothing.
cp left.sqlite started.sqlite
start_nbdkit s -r "$plugin" started.sqlite
nbdsh -u "$(uri s)" -c 'h.pread(1 << 20, 0)'
sleep 2
stop_nbdkit
cmp left.sqlite started.sqlite || fail "a read-only server writes"
db=started.sqlite
start_nbdkit s "$plugin" "$db"
nbdsh -u "$(uri s)" -c 'h.pwrite(b"1" * 512, 9 << 20)'
wait_for has_all
stop_nbdkit

# So does a repair.
cp left.sqlite mended.sqlite
sqlblock check --repair mended.sqlite >out 2>&1
grep -q "gave a checksum again to $pages page" out || {
  cat out
  fail "a repair does not say what it did"
}
[ "$(without mended.sqlite)" = 0 ] || fail "a repair leaves pages"

# Neither does while the index and a row disagree: it would hide that the page
# may have changed since it was written.
python3 - bad.sqlite <<'EOF2'
import sqlite3, sys
database = sqlite3.connect("file:%s?mode=ro" % sys.argv[1], uri=True)
root = database.execute("SELECT rootpage FROM sqlite_schema"
                        " WHERE name = 'block_by_number'").fetchone()[0]
database.close()
with open(sys.argv[1], "r+b") as file:
    data = file.read()
    size = int.from_bytes(data[16:18], "big")
    page = data[(root - 1) * size:root * size]
    child = int.from_bytes(page[8:12], "big")
    leaf = bytearray(data[(child - 1) * size:child * size])
    assert leaf[0] == 10 and leaf[-8:] == bytes(8)
    cell = int.from_bytes(leaf[8:10], "big")
    # The length, five types, the layer, then the number of the block.
    leaf[cell + leaf[cell + 1] + 2] ^= 1
    file.seek((child - 1) * size)
    file.write(leaf)
EOF2
got=0
sqlblock check bad.sqlite >out 2>&1 || got=$?
[ "$got" = 6 ] || fail "the damage is not found: $got"
before=$(count bad.sqlite)
db=bad.sqlite
start_nbdkit s "$plugin" "$db"
nbdsh -u "$(uri s)" -c 'h.pwrite(b"1" * 512, 9 << 20)'
wait_for grep -q "none is given as long as" s.log
stop_nbdkit
[ "$(count bad.sqlite)" -gt $((before - 100)) ] ||
  fail "pages were sealed over damage"
