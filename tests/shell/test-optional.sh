#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Features and properties that this program does not know: they are checked,
# and carried along by backups and salvage, whole as they are.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need sqlite3 nbdkit nbdinfo
PATH=$top_builddir/tool:$PATH
cd "$tmp" || exit 1

# change SQL: give the rows that it makes their checksums.
change ()
{
  sqlite3 disks "$1"
  "$top_builddir/tests/seal" disks rows
}

# rows FILE: all that is optional.
rows ()
{
  sqlite3 "file:$1?immutable=1" "SELECT * FROM feature ORDER BY id;
    SELECT id, kind, owner, key, quote (value), checksum FROM property
      ORDER BY id"
}

# same FILE: it has what the database has.
same ()
{
  rows "$1" >found
  diff wanted found || fail "$1 has other features or properties"
  sqlblock check "$1" >/dev/null || fail "$1 is not in order"
}

# check EXIT TEXT: "sqlblock check" says so.
check ()
{
  local code=0
  sqlblock check disks >out 2>&1 || code=$?
  [ "$code" = "$1" ] || fail "check: exit code $code: $(cat out)"
  grep -q "$2" out || fail "check does not say «$2»: $(cat out)"
}

sqlblock create -q disks web --size=4M
sqlblock snapshot create -q disks web@monday
change "INSERT INTO feature VALUES (20, 'color', 0, 1, 0),
    (21, 'sound', 1, 1, 0);
  INSERT INTO property VALUES (10, 0, 0, 'motto', 'a ''text''', 0),
    (11, 1, 1, 'user:owner', 'ann', 0), (12, 2, 1, 'hold:backup', 5, 0),
    (13, 3, 1, 'color', x'0001ff', 0), (14, 77, 12345, 'other', -7, 0),
    (15, 1, 1, 'long', zeroblob (8192), 0)"
check 0 " 0 problems"
rows disks >wanted
[ "$(grep -c . wanted)" = 10 ] || fail "not all rows are there: $(cat wanted)"

# --- Carried along ------------------------------------------------------------

sqlblock backup -q disks copied
same copied
sqlblock check disks --salvage=saved >/dev/null 2>&1
same saved
# Where the schema is lost, too, and after another program's VACUUM.
for source in disks vacuumed; do
  [ "$source" = disks ] || sqlite3 disks "VACUUM INTO 'vacuumed'"
  cp "$source" torn
  dd if=/dev/zero of=torn bs=4096 count=1 conv=notrunc status=none
  rm -f saved*
  sqlblock check torn --salvage=saved >out 2>&1 || true
  same saved
done

# --- With what it is about ----------------------------------------------------

# list FILE: kind, owner, key and value of all properties, and the features.
list ()
{
  sqlite3 "$1" "SELECT kind, owner, key, quote (value) FROM property
    ORDER BY kind, owner, key; SELECT disk, name, class FROM feature
    ORDER BY disk, name"
}

cp disks good
change "INSERT INTO property VALUES (40, 1, 1, 'local:x', 1, 0),
  (41, 2, 1, 'user:note', 'n', 0)"
list disks >before
sqlblock clone -q disks web copy
list disks >after
diff before after | grep '^[<>]' >changed || true
printf '> %s\n' "1|2|long|$(sqlite3 disks "SELECT quote (zeroblob (8192))")" \
  "1|2|user:owner|'ann'" "2|sound|1" >expected
diff expected changed || fail "a clone got something else"
sqlblock delete -q disks copy
list disks >after
diff before after || fail "what was about the clone did not go with it"
sqlblock snapshot release -q disks web@monday backup
sqlblock snapshot delete -q disks web@monday
grep -v '^2|1|' before >expected
list disks >after
diff expected after || fail "what was about the snapshot did not go with it"
sqlblock snapshot create -q disks web@tuesday
query disks "SELECT id FROM snapshot" >id
sqlite3 disks "INSERT INTO property VALUES (50, 2, $(tr -dc 0-9 <id), 'a', 1, 0)"
"$top_builddir/tests/seal" disks rows
sqlblock delete -q disks web --snapshots
list disks | grep -v '^0|' >after || true
printf '%s\n' "77|12345|other|-7" >expected
diff expected after || fail "what was about the disk did not go with it"
cp good disks

# --- Tables of others ---------------------------------------------------------

# accepted SQL: a file with this is served and checked, and a backup lacks it.
accepted ()
{
  cp good disks
  sqlite3 disks "$1"
  "$top_builddir/tests/seal" disks
  check 0 " 0 problems"
  nbdkit -U - "$plugin" disks --run 'nbdinfo --size "$uri"' >/dev/null ||
    fail "not served with: $1"
  sqlblock check disks --repair >/dev/null
  [ "$(sqlite3 disks "SELECT count (*) FROM ${2-color_notes}")" = 1 ] ||
    fail "a row of another's table is gone"
  rm -f copied*
  sqlblock backup -q disks copied
  sqlblock check copied >/dev/null || fail "the backup is not in order"
  ! sqlite3 copied .schema | grep -q "color_\|litestream" ||
    fail "the backup has another's table"
}

# refused SQL WORDS
refused ()
{
  cp good disks
  # Newer sqlite3 does not let its users write the schema otherwise.
  sqlite3 -cmd ".dbconfig defensive off" disks \
    "PRAGMA writable_schema = ON; $1" >/dev/null 2>err || fail "$1: $(cat err)"
  "$top_builddir/tests/seal" disks
  before=$(cksum disks)
  if sqlblock list disks >/dev/null 2>err; then
    fail "accepted: $1"
  fi
  grep -q "$2" err || fail "$1: $(cat err)"
  [ "$before" = "$(cksum disks)" ] || fail "a refused file was changed: $1"
}

accepted "CREATE TABLE color_notes (a INTEGER PRIMARY KEY AUTOINCREMENT,
    b UNIQUE); CREATE INDEX color_index ON color_notes (b);
  INSERT INTO color_notes VALUES (5, 6); ANALYZE"
accepted "CREATE TABLE sound_x (a); INSERT INTO sound_x VALUES (1)" sound_x
# As Litestream makes them.
accepted "CREATE TABLE IF NOT EXISTS _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER);
  CREATE TABLE IF NOT EXISTS _litestream_lock (id INTEGER);
  INSERT INTO _litestream_seq VALUES (1, 1)" _litestream_seq
refused "CREATE TABLE notes (a)" "'notes' is foreign"
refused "CREATE TABLE colors (a)" "'colors' is foreign"
refused "CREATE TABLE color (a)" "'color' is foreign"
refused "CREATE TABLE noise_x (a)" "'noise_x' is foreign"
refused "CREATE TABLE _litestream_seq (id INTEGER)" "is foreign"
refused "CREATE TABLE color_x (a REFERENCES disk (id))" "'color_x' is foreign"
refused "CREATE INDEX color_x ON block (number)" "'color_x' is foreign"
refused "CREATE TABLE color_x (a); CREATE TRIGGER color_y AFTER INSERT ON color_x
  BEGIN DELETE FROM disk; END" "'color_y' is foreign"
refused "INSERT INTO feature VALUES (60, 'sqlite', 0, 1, 0);
  CREATE TABLE sqlitex (a); UPDATE sqlite_schema SET name = 'sqlite_x',
    tbl_name = 'sqlite_x', sql = replace (sql, 'sqlitex', 'sqlite_x')
    WHERE name = 'sqlitex'" "foreign"
refused "ANALYZE; INSERT INTO sqlite_stat1 VALUES ('block', 'block_zero',
  '1000 10 sz=5')" "statistics"
# Many features and many of their tables: not each with each.
cp good disks
{
  echo "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
      WHERE i < 99999)
    INSERT INTO feature SELECT 100 + i, 'x' || i, 99, 1, 0 FROM n;"
  for i in {1..1000}; do
    echo "CREATE TABLE x99999_$i (a);"
  done
} >many
change "BEGIN; $(cat many) COMMIT"
timeout 10 sqlblock list -q disks >/dev/null ||
  fail "many features and tables: $?"
cp good disks

# --- Hidden names of others ---------------------------------------------------

# A snapshot and a disk of a program of another day are left as they are.
snapshot="2, disk, 'trash/1', guid, layer, generation, size, created,
  automatic, last_block"
sqlite3 disks "INSERT INTO snapshot SELECT $snapshot, 0 FROM snapshot;
  INSERT INTO layer (id, generation, checksum) VALUES (50, 1, 0);
  INSERT INTO disk SELECT 50, 'trash/web', description, size, block_size, 50,
    epoch, compression, compression_level, deduplicate, quota, created, 0
    FROM disk"
"$top_builddir/tests/seal" disks rows
check 0 " 0 problems"
! grep -q "interrupted" out || fail "it is taken for one of ours: $(cat out)"
sqlblock compact -q disks
sqlblock check disks --repair >/dev/null
sqlblock backup -q disks kept
for file in disks kept; do
  [ "$(sqlite3 $file "SELECT name FROM snapshot WHERE id = 2
    UNION ALL SELECT name FROM disk WHERE id = 50" | tr '\n' ' ')" = \
    "trash/1 trash/web " ] || fail "$file has lost what is hidden"
  ! sqlblock list $file --all | grep trash || fail "what is hidden is listed"
done
cp good disks

# --- Checked ------------------------------------------------------------------

cp disks good
change "INSERT INTO property VALUES (30, 1, 99, 'user:owner', 'bob', 0),
  (31, 2, 99, 'user:owner', 'bob', 0), (32, 3, 99, 'color', 'red', 0),
  (33, 0, 1, 'color', 'red', 0); INSERT INTO feature VALUES
  (30, 'color', 99, 1, 0)"
for number in 30 31 32 33; do
  check 6 "property number $number: what it is about is missing"
done
check 6 "feature number 30: its disk is missing"
sqlblock check disks --repair >/dev/null 2>&1
check 0 " 0 problems"
same disks

# What cannot be believed is told of, and left.
sqlite3 disks "UPDATE property SET value = 'eve' WHERE id = 11"
"$top_builddir/tests/seal" disks
check 6 "property number 11: its checksum is wrong"
sqlblock check disks --repair >/dev/null 2>&1 || true
check 6 "property number 11: its checksum is wrong"
cp good disks
change "UPDATE property SET value = zeroblob (8193) WHERE id = 15;
  UPDATE property SET key = '' WHERE id = 14;
  UPDATE property SET key = printf ('%.201c', 'x') WHERE id = 13"
check 6 "property number 15: its value is too long"
check 6 "property number 14: its key is impossible"
check 6 "property number 13: its key is impossible"

# A feature that is known gets its checksum again.
cp good disks
sqlite3 disks "UPDATE feature SET checksum = 1 WHERE id = 1"
"$top_builddir/tests/seal" disks
check 6 "feature number 1: its checksum is wrong"
sqlblock check disks --repair >/dev/null 2>&1
same disks

# What may be another program's stays where its disk is gone, and what nobody
# seems to show with it: it may be that disk's.
cp good disks
change "INSERT INTO feature VALUES (30, 'novel', 99, 7, 0),
    (31, 'novel', 98, 3, 0), (32, 'novel', 97, 2, 0), (33, 'novel', 96, 1, 0),
    (34, 'lz4', 95, 3, 0);
  INSERT INTO property VALUES (30, 1, 99, 'user:owner', 'bob', 0);
  INSERT INTO layer (id, generation, checksum) VALUES (70, 1, 0)"
for number in 30 31 32; do
  check 6 "feature number $number: its disk is missing"
done
check 6 "nobody looks at layer 70"
sqlblock check disks --repair >out 2>&1 || true
grep -q "nothing was freed or deleted" out || fail "repair: $(cat out)"
rows disks >found
for number in 30 31 32 33 34; do
  grep -q "^$number|.*" found || fail "row $number is gone: $(cat found)"
done
grep -q "user:owner|'bob'" found || fail "the property of a lost disk is gone"
[ "$(sqlite3 disks "SELECT count (*) FROM layer WHERE id = 70")" = 1 ] ||
  fail "the layer of a lost disk is gone"
# Those that do not matter, or are known, go.
change "DELETE FROM feature WHERE id IN (30, 31, 32)"
sqlblock check disks --repair >/dev/null 2>&1
check 0 " 0 problems"
same disks

# Where the row of a disk cannot be believed, what it seems to be about may be
# another one's.
cp good disks
sqlite3 disks "PRAGMA foreign_keys = OFF; UPDATE disk SET id = 9"
"$top_builddir/tests/seal" disks
check 6 "feature number 21: its disk is missing"
check 6 "property number 11: what it is about is missing"
sqlblock check disks --repair >/dev/null 2>&1 || true
rows disks >found
diff wanted found || fail "what is optional went with a damaged disk"

# One whose name only begins as one that is known gets no checksum.
cp good disks
sqlite3 disks "INSERT INTO feature
  VALUES (30, CAST (x'6c7a34002e' AS TEXT), 1, 1, 77)"
"$top_builddir/tests/seal" disks
sqlblock check disks --repair >/dev/null 2>&1 || true
check 6 "feature number 30: its checksum is wrong"
