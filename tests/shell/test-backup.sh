#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# sqlblock backup and compact: the copy has every disk and snapshot, of one
# instant, while servers write; it does not keep the log from starting over;
# kill -9 and a full file system leave nothing that looks like a copy; what
# nobody sees is freed and given back.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3 cmp fio fallocate
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=disks.sqlite

# same EXPORT...: both files show the same.
same ()
{
  local export
  for export; do
    sqlblock export "$db" "$export" - >one
    sqlblock export copy.sqlite "$export" - | cmp - one ||
      fail "the copy of $export differs"
  done
}

# --- A database with a history -----------------------------------------------

for disk in one two; do
  sqlblock create -q "$db" "$disk" --size 128m
done
for i in 1 2 3; do
  dd if=/dev/urandom bs=1M count=6 status=none | (
    cat
    head -c $((i * 1000000)) /dev/zero
  ) >"image$i"
  sqlblock import "$db" "old$i" "image$i"
  sqlblock snapshot create -q "$db" "old$i@a"
  sqlblock import --overwrite "$db" "old$i" "image1"
  sqlblock snapshot create -q "$db" "old$i@b"
  sqlblock clone -q "$db" "old$i@a" "clone$i"
done
sqlblock rollback -q "$db" old2@a
sqlblock delete -q "$db" clone3
sqlblock snapshot delete -q "$db" old1@b
sqlblock backup "$db" copy.sqlite 2>err
grep -q copied err
exports="one two old1 old1@a old2 old2@a old2@b old3 old3@a old3@b clone1 clone2"
same $exports
[ "$(stat -c %a copy.sqlite)" = 600 ] || fail "others may read the copy"
[ "$(query copy.sqlite 'PRAGMA integrity_check')" = ok ]
[ "$(query copy.sqlite 'SELECT name, guid FROM snapshot ORDER BY id')" = \
  "$(query "$db" 'SELECT name, guid FROM snapshot ORDER BY id')" ]
# It is a database like any other.
sqlblock compact copy.sqlite >/dev/null
sqlblock snapshot create -q copy.sqlite one@new
same $exports
before=$(cksum <copy.sqlite)
fails 4 "exists" backup "$db" copy.sqlite
[ "$before" = "$(cksum <copy.sqlite)" ] || fail "a file was overwritten"
fails 3 "" backup nowhere.sqlite new.sqlite
fails 3 "" backup "$db" no/such/directory

# Read only, by a user who may not even write the directory.
mkdir read-only
cp copy.sqlite read-only
chmod 500 read-only read-only/*
if [ "$(id -u)" = 0 ]; then
  echo "root may write everything: read-only files were not tried"
else
  sqlblock backup read-only/copy.sqlite third.sqlite
  [ "$(query third.sqlite 'SELECT count (*) FROM block')" = \
    "$(query copy.sqlite 'SELECT count (*) FROM block')" ]
fi
chmod 700 read-only

# --- Under load --------------------------------------------------------------

start_nbdkit s "$plugin" "$db" log-size=16M
python3 "$srcdir/lib/ordered.py" write "$(uri s one)" "$(uri s two)" \
  >writer.log 2>&1 &
writer=$!
started_pids+=("$writer")
wait_for grep -q writing writer.log
fio --name=load --ioengine=nbd --uri="$(uri s clone1)" --rw=randwrite --bs=4k \
  --iodepth=4 --size=6m --time_based --runtime=1000 >fio.log 2>&1 &
started_pids+=("$!")
for i in 1 2 3 4 5; do
  rm -f copy.sqlite
  sqlblock snapshot create -q "$db" "one@$i"
  sqlblock backup -q "$db" copy.sqlite
  sqlblock export copy.sqlite one --force one.raw
  sqlblock export copy.sqlite two --force two.raw
  python3 "$srcdir/lib/ordered.py" check one.raw two.raw
  same old1 old1@a old2 old2@a old2@b old3 old3@a old3@b clone2 "one@$i"
done
kill -0 "$writer" || fail "the writer has ended: $(cat writer.log)"

# --- kill -9 and interruptions -----------------------------------------------

for i in $(seq 8); do
  sqlblock backup -q "$db" killed.sqlite &
  pid=$!
  sleep 0.0$((RANDOM % 10))
  kill -9 "$pid" 2>/dev/null || :
  wait "$pid" 2>/dev/null || :
  if [ -e killed.sqlite ]; then
    [ "$(query killed.sqlite 'PRAGMA integrity_check')" = ok ]
    rm killed.sqlite
  fi
done
sqlblock backup -q "$db" killed.sqlite
rm -f killed.sqlite.new-*
sqlblock compact "$db" >/dev/null
[ "$(query "$db" "SELECT count (*) FROM snapshot WHERE name LIKE '%/%'")" = 0 ] ||
  fail "compact left the snapshot of a backup"
kill -9 "$writer"
kill_nbdkit

# --- What nobody sees --------------------------------------------------------

rm -f copy.sqlite
sqlblock delete -q --snapshots "$db" old3
size=$(stat -c %s "$db")
sqlblock compact "$db" --json >compact.json
python3 -c '
import json
with open("compact.json") as file:
    j = json.load(file)
assert j["after"] <= j["before"] - 5000000, j' ||
  fail "compact gave nothing back: $(cat compact.json)"
[ "$(stat -c %s "$db")" -lt "$size" ]
[ "$(query "$db" 'SELECT count (*) FROM reclaim')" = 0 ]
sqlblock backup -q "$db" copy.sqlite
same old1 old1@a old2 old2@a old2@b clone1 clone2 one one@3
[ "$(query "$db" 'SELECT count (*) FROM block')" = \
  "$(query copy.sqlite 'SELECT count (*) FROM block')" ]

# --- Damage ------------------------------------------------------------------

cp "$db" damaged.sqlite
change damaged.sqlite "UPDATE block SET data = zeroblob (length (data))
  WHERE id = (SELECT max (id) FROM block WHERE codec = 1)"
fails 1 "checksum does not match" backup damaged.sqlite new.sqlite
[ ! -e new.sqlite ] || fail "a damaged database was copied"

# --- A full file system ------------------------------------------------------

if ! "${own_mounts[@]}" true 2>/dev/null; then
  echo "mounting needs root: full file systems were not tried"
  exit
fi
export -f fails fail
export db
"${own_mounts[@]}" bash -euo pipefail <<'EOF2'
mkdir small
mount -t tmpfs -o size=6M none small
fails 1 "full" backup "$db" small/copy.sqlite
[ -z "$(ls -A small)" ] || fail "left behind: $(ls small)"
mount -o remount,size=100M small
sqlblock backup -q "$db" small/copy.sqlite
EOF2
