#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# sqlblock check: finds damage and says where, finds none while servers write,
# mends without loss, and saves what is left of a database that nothing can
# open any more. It never changes what it only looks at, and nothing is
# overwritten. (unit-check and unit-flips try the single rules and bytes.)

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3 cmp fio xz
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
use_memory
cd "$tmp"
db=disks.sqlite

# check CODE TEXT ARGUMENT...: sqlblock check must end with CODE and say TEXT.
check ()
{
  local code=$1 text=$2 got=0
  shift 2
  sqlblock check "$@" >out 2>&1 </dev/null || got=$?
  if [ "$got" != "$code" ] ||
    { [ -n "$text" ] && ! grep -qF -- "$text" out; }; then
    cat out >&2
    fail "exit code $got, wanted $code and «$text»: sqlblock check $*"
  fi
}

# overwrite FILE OFFSET COUNT: with random bytes.
overwrite ()
{
  dd if=/dev/urandom of="$1" bs=1 seek="$2" count="$3" conv=notrunc status=none
}

# --- A database ---------------------------------------------------------------

head -c 2000000 /dev/urandom >image
sqlblock create -q "$db" text --size=4M --compression=zstd
sqlblock import -q "$db" web image
sqlblock snapshot create -q "$db" web@monday
sqlblock clone -q "$db" web@monday copy
nbdkit -U - "$plugin" "$db" export=text \
  --run 'nbdsh -u "$uri" -c "h.pwrite(b\"word \" * 400000, 0)"'
check 0 "3 disks, 1 snapshot," "$db"
check 0 "" "$db" --quiet
[ ! -s out ] || fail "--quiet is not quiet: $(cat out)"
cp "$db" good.sqlite

# --- Under load ----------------------------------------------------------------

start_nbdkit s "$plugin" "$db" log-size=4M
await_answer s
fio --name=load --ioengine=nbd --uri="$(uri s web)" --rw=randrw --bs=4k \
  --iodepth=8 --size=1900k --time_based --runtime=1000 >fio.log 2>&1 &
started_pids+=("$!")
for i in 1 2 3 4 5 6; do
  sqlblock snapshot create -q "$db" "web@load-$i"
  check 0 " 0 problems" "$db"
  sqlblock clone -q "$db" "web@load-$i" "clone-$i"
  check 0 " 0 problems" "$db"
  sqlblock snapshot delete -q "$db" "web@load-$i" &
  check 0 " 0 problems" "$db"
  wait "$!"
  sqlblock delete -q "$db" "clone-$i" &
  check 0 " 0 problems" "$db"
  wait "$!"
done
# A server that has it open does not keep others from looking, but from
# saving what would not fit together.
check 5 "a server has the database open" "$db" --salvage=new.sqlite
[ ! -e new.sqlite ] || fail "a file was made"
kill_nbdkit
check 0 " 0 problems" "$db"

# --- Damage, and where it is ---------------------------------------------------

cp good.sqlite bad.sqlite
change bad.sqlite "UPDATE block SET data = zeroblob (4096)
  WHERE id IN (SELECT id FROM block WHERE codec = 1 AND number = 7)"
before=$(cksum <bad.sqlite)
check 6 "block: web, copy, web@monday: byte 28672: block 7" bad.sqlite
[ "$before" = "$(cksum <bad.sqlite)" ] || fail "a check has changed the file"
sqlblock check bad.sqlite --json >out.json && fail "damage was not found"
python3 -c '
import json
with open("out.json") as file:
    j = json.load(file)
assert j["problem_count"] == 1 and j["file_checked"], j
p, = j["problems"]
assert (p["kind"], p["offset"], p["size"]) == ("block", 28672, 4096), p
assert {"disk": "web", "snapshot": "monday"} in p["shown_by"], p
assert p["shown_by_count"] == 3, p' || fail "JSON: $(cat out.json)"

# A server finds it by itself, again and again, and serves meanwhile.
start_nbdkit scrub "$plugin" bad.sqlite scrub=2s
nbdsh -u "$(uri scrub web)" -c 'h.pwrite(b"x" * 4096, 4096)'
wait_for grep -q "scrub: block: .*: byte 28672: block 7" scrub.log
wait_for grep -q "scrub: 1 problem in" scrub.log
stop_nbdkit
grep -c "byte 28672" scrub.log
cp good.sqlite scrubbed.sqlite
start_nbdkit scrub2 "$plugin" scrubbed.sqlite scrub=1s
for i in 1 2 3 4 5 6 7 8; do
  nbdsh -u "$(uri scrub2 web)" -c 'import random
for i in range(100):
    h.pwrite(random.randbytes(4096), 4096 * random.randrange(480))'
  sqlblock snapshot create -q scrubbed.sqlite "web@$i"
done
stop_nbdkit
grep scrub: scrub2.log && fail "a scrub has found what is not there"
expect_error "not a span of time" nbdkit -U - "$plugin" bad.sqlite scrub=often \
  --run true

# It cannot be mended, and stays as it is.
check 6 "byte 28672" bad.sqlite --repair

# A changed byte can.
python3 - <<'EOF2'
import sqlite3
database = sqlite3.connect("bad.sqlite")
id, data = database.execute("SELECT id, data FROM block WHERE codec = 1"
                            " AND number = 9").fetchone()
data = bytearray(data)
data[1234] ^= 0x10
database.execute("UPDATE block SET data = ? WHERE id = ?", (bytes(data), id))
database.commit()
EOF2
"$top_builddir/tests/seal" bad.sqlite
check 6 "one byte was wrong, and has been set right" bad.sqlite --repair
grep -q "byte 36864" out && fail "the byte is still wrong"
check 2 "exclude each other" bad.sqlite --repair --salvage=x

# --- What is left by interruptions ---------------------------------------------

cp good.sqlite left.sqlite
(cat image; sleep 20) | sqlblock import -q left.sqlite new - --size=4M &
import=$!
wait_for is_receiving left.sqlite
# While it runs it is no leftover.
check 0 " 0 problems" left.sqlite
grep -q leftover out && fail "what comes in was taken for a leftover"
kill -9 "$import"
wait "$import" 2>/dev/null || :
check 0 "leftover: an interrupted reception or import" left.sqlite
for i in 1 2 3; do
  sqlblock check -q --repair left.sqlite >/dev/null 2>&1 &
  sleep 0.0$((RANDOM % 9))
  kill -9 "$!" 2>/dev/null || :
  wait "$!" 2>/dev/null || :
done
check 0 " 0 problems" left.sqlite --repair
grep -q leftover out && fail "the leftover is still there"

# --- Salvage -------------------------------------------------------------------

# same FILE: it shows what the good one does.
same ()
{
  local export
  for export in web web@monday copy text; do
    sqlblock export good.sqlite "$export" - >one
    sqlblock export "$1" "$export" - | cmp - one ||
      fail "$export was not saved: $1"
  done
}

check 0 "saved 3 disks, 1 snapshot," good.sqlite --salvage=saved.sqlite
same saved.sqlite
before=$(cksum <saved.sqlite)
check 4 "nothing is overwritten" good.sqlite --salvage=saved.sqlite
[ "$before" = "$(cksum <saved.sqlite)" ] || fail "a file was overwritten"
check 4 "" good.sqlite --salvage=good.sqlite
check 3 "" nowhere.sqlite --salvage=new.sqlite
check 1 "nothing of a database" image --salvage=new.sqlite
[ ! -e new.sqlite ] || fail "a file was made"

# The header, the schema and more: SQLite opens it no longer.
cp good.sqlite broken.sqlite
overwrite broken.sqlite 0 6000
check 6 "broken.sqlite" broken.sqlite
check 0 "saved 3 disks" broken.sqlite --salvage=saved2.sqlite
same saved2.sqlite
# The same of a file of format 4, in which all is a page before that.
xz -dc "$srcdir/fixtures/format-4/everything.sqlite.xz" >old.sqlite
query old.sqlite "SELECT name FROM disk
  WHERE name NOT LIKE '%/%'" | sort >names
overwrite old.sqlite 0 4000
check 0 "saved" old.sqlite --salvage=saved-old.sqlite
sqlblock list --names saved-old.sqlite | sort | diff names -

# A page of blocks: they are lost, all else is saved, and reading them fails.
cp good.sqlite hole.sqlite
page=$(($(stat -c %s hole.sqlite) / 4096 / 2))
overwrite hole.sqlite $((page * 4096)) 4096
check 6 "" hole.sqlite
check 6 "saved 3 disks" hole.sqlite --salvage=saved3.sqlite
lost=$(sed -n 's/.*lost \([0-9]*\) block.*/\1/p' out)
[ "$lost" -ge 1 ] && [ "$lost" -le 20 ] || fail "lost: $lost"
sqlblock check saved3.sqlite --json >out.json && fail "the loss is not shown"
python3 -c '
import json
with open("out.json") as file:
    j = json.load(file)
assert j["problem_count"] == '"$lost"', j
assert all(p["kind"] == "block" for p in j["problems"]), j' ||
  fail "JSON: $(cat out.json)"
check 6 "lost $lost block" hole.sqlite --salvage=saved4.sqlite --zero-lost
check 0 " 0 problems" saved4.sqlite

# The log that a killed server has left belongs to it.
start_nbdkit s "$plugin" "$db" log-size=64M
nbdsh -u "$(uri s copy)" -c 'h.pwrite(b"x" * 65536, 0)'
kill_nbdkit
[ -s "$db-wal" ] || fail "there is no log"
check 0 "saved" "$db" --salvage=saved5.sqlite
sqlblock export -q saved5.sqlite copy copy.raw
head -c 65536 copy.raw | tr -d x | cmp - /dev/null ||
  fail "the log was not read"
[ -s "$db-wal" ] || fail "the log was moved"

# --- A full file system --------------------------------------------------------

if ! "${own_mounts[@]}" true 2>/dev/null; then
  echo "mounting needs root: full file systems were not tried"
  exit
fi
export -f check fail
"${own_mounts[@]}" bash -euo pipefail <<'EOF2'
mkdir small
mount -t tmpfs -o size=1M none small
check 1 "full" good.sqlite --salvage=small/saved.sqlite
[ -z "$(ls -A small)" ] || fail "left behind: $(ls small)"
EOF2
