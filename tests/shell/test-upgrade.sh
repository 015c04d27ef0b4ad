#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# sqlblock upgrade, of files of all earlier formats (fixtures/): each disk and
# snapshot shows what it did, and no row but those that an upgrade makes has
# changed; what is not in order is refused, and stays as it is, byte for byte;
# and who is killed in any of its system calls, or finds no space, leaves the
# old file or the new one.  SOAK=yes in the environment kills in all of them, and
# SQLBLOCK_SEED repeats which ones otherwise.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdcopy nbdsh xz sha256sum sqlite3 python3

use_memory
PATH=$top_builddir/tool:$PATH
cd "$tmp"

# unpack FORMAT NAME: a fixture, with its log if it has one, as work/db.
unpack ()
{
  rm -rf work
  mkdir work
  unpack_fixture "$srcdir/fixtures/format-$1/$2" work/db
  wanted=$srcdir/fixtures/format-$1/$2.sums
}

# bytes: checksums of the database and its log.
bytes ()
{
  find work -name 'db*' ! -name '*-shm' ! -name '*-lock' -size +0 \
    -exec sha256sum {} + | sort
}

# rows: those of all tables that an upgrade leaves alone, and what it makes of
# features; read from a copy with nothing of ours.
rows ()
{
  rm -rf copy
  cp -r work copy
  for table in layer disk snapshot block content counted reclaim; do
    echo "$table:"
    sqlite3 copy/db ".mode quote" "SELECT * FROM $table ORDER BY rowid"
  done
  sqlite3 copy/db "SELECT * FROM sqlite_sequence ORDER BY name"
  if [ "$(sqlite3 copy/db 'PRAGMA user_version')" -lt 6 ]; then
    sqlite3 copy/db "SELECT name, kind FROM feature ORDER BY name"
  else
    sqlite3 copy/db "SELECT name, CASE class WHEN 1 THEN 'compatible'
        WHEN 2 THEN 'read-only' WHEN 3 THEN 'incompatible' END
      FROM feature WHERE disk = 0 ORDER BY name"
  fi
}

# compare: each disk and snapshot shows what it did.
compare ()
{
  local sum size disk count=0
  start_nbdkit s -r "$plugin" work/db
  await_answer s
  while read -r sum size disk; do
    nbdcopy "nbd+unix:///${disk// /%20}?socket=$tmp/s" image </dev/null
    [ "$(stat -c %s image)" = "$size" ] || fail "$1: the size of $disk"
    [ "$(sha256sum <image)" = "$sum  -" ] || fail "$1: $disk has changed"
    rm image
    count=$((count + 1))
  done <"$wanted"
  stop_nbdkit
  [ "$count" -gt 0 ] || fail "$1: nothing was compared"
}

# in_order NAME: a check of all of it finds nothing.
in_order ()
{
  sqlblock check work/db >out 2>&1 && grep -q " 0 problems" out || {
    cat out
    fail "$1: a check finds problems"
  }
}

# upgraded NAME: it has the new format, and the rows of the file before.
upgraded ()
{
  rows >after
  [ "$(sqlite3 copy/db 'PRAGMA user_version')" = 6 ] || fail "$1: the format"
  cmp -s before after || {
    diff before after | cut -c 1-200 | head
    fail "$1: rows have changed"
  }
  [ "$(sqlite3 copy/db "SELECT kind, owner, key, length (value)
    FROM property")" = "0|0|id|16" ] || fail "$1: its properties"
}

# try_upgrade FORMAT NAME
try_upgrade ()
{
  local name="format $1, $2" was
  echo "$name"
  unpack "$1" "$2"
  rows >before
  was=$(bytes)
  sqlblock upgrade --dry-run work/db >out 2>&1 || fail "$name: $(cat out)"
  grep -q "format $1" out || fail "$name: dry run does not say its format"
  [ "$was" = "$(bytes)" ] || fail "$name: a dry run has changed it"
  sqlblock upgrade work/db >out 2>&1 || fail "$name: $(cat out)"
  [ ! -s work/db-wal ] || fail "$name: a log is left"
  upgraded "$name"
  in_order "$name"
  compare "$name"
  was=$(bytes)
  sqlblock upgrade work/db >out 2>&1 || fail "$name: again: $(cat out)"
  grep -q "has format 6 already" out || fail "$name: again: $(cat out)"
  sqlblock upgrade --dry-run work/db >out 2>&1 || fail "$name: $(cat out)"
  grep -q "has format 6 already" out || fail "$name: dry run again: $(cat out)"
  [ "$was" = "$(bytes)" ] || fail "$name: it was upgraded twice"
}

# used NAME: it is a database like any other.
used ()
{
  sqlblock snapshot create -q work/db web@new
  sqlblock clone -q work/db web@new "new disk"
  nbdkit -U - "$plugin" work/db export="new disk" --run \
    'nbdsh -u "$uri" -c "h.pwrite(bytes([7] * 100000), 5000); h.flush()"'
  [ "$(nbdkit -r -U - "$plugin" work/db export="new disk" --run \
    'nbdsh -u "$uri" -c "print(h.pread(3, 104998))"')" = \
    "bytearray(b'\\x07\\x07\\x00')" ] || fail "$1: what was written"
  sqlblock rollback -q work/db web@monday
  sqlblock delete -q --snapshots work/db same
  sqlblock snapshot delete -q work/db web@tuesday
  sqlblock compact -q work/db
  sqlblock backup -q work/db work/backup
  sqlblock check -q work/backup || fail "$1: its backup"
  in_order "$1"
}

# with_space BYTES: so much is free.  It is upgraded, or says what there is too
# little of, and can be read as before; with more space it goes on.
with_space ()
{
  local free status=0
  rm -f room/*
  cp work/db* room
  sync -f room
  free=$(df --output=avail -B1 room | tail -n 1)
  [ $((free - $1)) -le 0 ] || fallocate -l $((free - $1)) room/filler
  sqlblock upgrade -q room/db 2>err || status=$?
  if [ $status = 0 ]; then
    enough=$((enough + 1))
  else
    grep -Eq "system is full|No space left" err || fail "$1 bytes: $(cat err)"
    few=$((few + 1))
  fi
  rm -f room/filler
  # A log cannot be read without space for its index.
  sqlblock list room/db >/dev/null || fail "$1 bytes: it does not open"
  if sqlblock describe -q room/db disk "" 2>err; then
    [ $status = 0 ] || fail "$1 bytes: it failed, and is of the new format"
  else
    grep -q "sqlblock upgrade" err || fail "$1 bytes: $(cat err)"
  fi
  sqlblock upgrade -q room/db || fail "$1 bytes: it does not go on"
  (cd room && rm -rf ../roomy/work && mkdir -p ../roomy/work &&
    cp db* ../roomy/work)
  (cd roomy && upgraded "$1 bytes" && in_order "$1 bytes")
}

# In a mount namespace of its own.
if [ "${1-}" = spaces ]; then
  mkdir room roomy
  mount -t tmpfs -o size=8M none room
  for format in 4 5; do
    enough=0 few=0
    unpack $format log
    rows >before
    cp before roomy
    for kib in $(seq 0 16 160) 400 2000; do
      with_space $((kib << 10))
    done
    [ $enough -gt 0 ] && [ $few -gt 0 ] || fail "$enough enough, $few too few"
    echo "format $format: $few times there was too little space"
  done
  umount room
  exit 0
fi

for format in "$srcdir"/fixtures/format-[45]; do
  for file in "$format"/*.sums; do
    try_upgrade "${format##*-}" "$(basename "$file" .sums)"
    [ "$(basename "$file")" != everything.sums ] || used "$format"
  done
done

# --- Refused ------------------------------------------------------------------

# refused TEXT: with a dry run, too, and nothing is changed.
refused ()
{
  local was
  was=$(bytes)
  expect_error "$1" sqlblock upgrade --dry-run work/db
  expect_error "$1" sqlblock upgrade work/db
  [ "$was" = "$(bytes)" ] || fail "it was refused and changed: $1"
}

# spoil SQL: a file of format 4 with that change.
spoil ()
{
  unpack 4 everything
  change work/db "$1"
}
spoil "CREATE TABLE foreign_table (x)"
refused "foreign_table"
spoil "CREATE TRIGGER foreign_trigger AFTER DELETE ON layer BEGIN SELECT 1; END"
refused "foreign_trigger"
spoil "UPDATE snapshot SET size = size + 512 WHERE id = 3"
refused "check"
spoil "UPDATE disk SET size = size + 512 WHERE id = 2"
refused "check"
spoil "UPDATE layer SET generation = generation + 1 WHERE id = 1"
refused "check"
spoil "DROP INDEX block_zero"
refused "block_zero"

# Not ours, newer, or none at all.
spoil "PRAGMA user_version = 7"
refused "format 7"
spoil "PRAGMA application_id = 7"
refused "not"
expect_error "does not exist" sqlblock upgrade "$tmp/none"
echo "no database" >work/db
refused "not"

# A log that does not fit, or is missing.
unpack 5 log
rm work/db-wal
refused "is missing"
xz -dc "$srcdir/fixtures/format-5/ended.sqlite-wal.xz" >work/db-wal
refused "does not belong"

# Somebody has it open: a server of ours, another program.
for format in 4 5; do
  unpack $format everything
  start_nbdkit s -r "$plugin" work/db
  nbdsh -c "h.set_export_name ('web')" -c "h.connect_unix ('$tmp/s')" \
    -c "import time" -c "print (1, flush=True)" -c "time.sleep (60)" >opened &
  client=$!
  started_pids+=("$client")
  wait_for test -s opened
  refused "has the database open"
  kill $client
  wait $client || :
  stop_nbdkit
  rm opened
  for begin in "" "BEGIN;"; do
    unpack $format log
    rm -f fifo
    mkfifo fifo
    sqlite3 work/db <fifo >opened &
    reader=$!
    started_pids+=("$reader")
    exec 8>fifo
    echo "$begin SELECT count (*) FROM disk;" >&8
    wait_for test -s opened
    refused "has the database open"
    exec 8>&-
    wait $reader || :
    rm opened
  done
done

# A directory in which nothing can be written.
read_only ()
{
  expect_error "$text" "$@" sqlblock upgrade work/db
}
for text in "read-only" "cannot be written"; do
  unpack 4 everything
  [ "$text" = "read-only" ] || unpack 4 log
  was=$(bytes)
  mounted_read_only work read_only
  [ "$was" = "$(bytes)" ] || fail "a file in a read-only directory has changed"
done

# Two at once: both end well, and one has made it.
for i in 1 2 3 4 5 6; do
  unpack 4 everything
  rows >before
  sqlblock upgrade work/db >one 2>&1 &
  other=$!
  sqlblock upgrade work/db >two 2>&1 || fail "two at once: $(cat two)"
  wait $other || fail "two at once: $(cat one)"
  [ "$(cat one two | grep -c '^made')" = 1 ] ||
    fail "two at once: $(cat one two)"
  upgraded "two at once"
done

# One of the newest format.
rm -rf work
mkdir work
sqlblock create -q work/db disk --size=1M
was=$(bytes)
sqlblock upgrade work/db >out 2>&1 || fail "of the new format: $(cat out)"
grep -q "has format 6 already" out || fail "of the new format: $(cat out)"
[ "$was" = "$(bytes)" ] || fail "a new file has changed"

# A link to it stays one.
unpack 4 log
ln -s work/db link
sqlblock upgrade -q link
[ -L link ] || fail "the link has gone"
[ "$(query work/db 'PRAGMA user_version')" = 6 ] || fail "by a link"
rm link

# --- No space -----------------------------------------------------------------

if "${own_mounts[@]}" true 2>/dev/null; then
  export srcdir top_builddir
  "${own_mounts[@]}" bash \
    "$srcdir/shell/test-upgrade.sh" spaces
else
  echo "no full file system tried: mounting does not work here"
fi

# --- Killed -------------------------------------------------------------------

echo "seed ${SQLBLOCK_SEED:=$RANDOM}"
RANDOM=$SQLBLOCK_SEED
calls=pwrite64,pwritev,write,ftruncate,fallocate,fsync,fdatasync,unlink,rename

# killed NAME: what a kill has left opens, and is new, or can be read and says
# what to do.  Only where a journal is left, of what was in rollback mode, it is
# not read before that is rolled back.
killed ()
{
  if ! sqlblock list work/db >out 2>&1; then
    [ -s work/db-journal ] && grep -q "has left a journal" out ||
      fail "$1: after a kill: $(cat out)"
    old=$((old + 1))
    return
  fi
  if sqlblock create -q work/db another --size=1M >out 2>&1; then
    new=$((new + 1))
  else
    grep -q "sqlblock upgrade" out || fail "$1: after a kill: $(cat out)"
    old=$((old + 1))
  fi
}

# kill_at NUMBER: an upgrade is killed when it makes that call.  (A shell of its
# own says in the file err that it was.)
kill_at ()
{
  bash -c '"$@"; exit $?' - strace -f -qq -o trace -e "trace=$calls" \
    -e "inject=$calls:signal=KILL:when=$1" sqlblock upgrade -q work/db 2>err
}

# kill_in FORMAT NAME STEP: in each STEPth of its system calls that write, and
# once more when it goes on.
kill_in ()
{
  local at=$((RANDOM % $3 + 1)) old=0 new=0 status name="format $1, $2"
  unpack "$1" "$2"
  rows >before
  while true; do
    unpack "$1" "$2"
    status=0
    kill_at $at || status=$?
    [ $status != 0 ] || break
    [ $status = 137 ] || fail "$name, call $at: $(cat err)"
    cp -r work half
    killed "$name, call $at"
    rm -r work
    mv half work
    kill_at $((RANDOM % 60 + 1)) || :
    sqlblock upgrade -q work/db || fail "$name, call $at: it does not go on"
    upgraded "$name, call $at"
    in_order "$name, call $at"
    [ $((RANDOM % 10)) != 0 ] || compare "$name, call $at"
    at=$((at + $3))
  done
  [ $old -gt 0 ] || fail "$name: no kill has left the old file"
  [ $new -gt 0 ] || [ "$3" -gt 1 ] || fail "$name: no kill has left the new one"
  echo "$name: killed $((old + new)) times: $old old, $new new"
}

if strace -qq -o /dev/null -e inject=fsync:signal=KILL:when=99 true; then
  if [ "${SOAK-}" = yes ]; then
    for format in "$srcdir"/fixtures/format-[45]; do
      for file in "$format"/*.sums; do
        kill_in "${format##*-}" "$(basename "$file" .sums)" 1
      done
    done
  else
    kill_in 4 log 3
    kill_in 4 large 12
    kill_in 5 rollback 3
    for file in everything log ended restarted sums copy; do
      kill_in 5 $file 12
    done
  fi
else
  echo "no kills tried: strace does not work here"
fi
