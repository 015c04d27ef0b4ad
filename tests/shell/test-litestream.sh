#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A database that Litestream replicates: what is set, that the server lets it
# have the log and bounds that, and a drill: write, flush, replicate, kill all,
# delete the database, restore, check, serve, compare.
#
# The drill is done with a program that does what Litestream does
# (lib/litestream.py); and with Litestream itself, where it is in PATH, or
# $LITESTREAM names it, to a directory and to S3 (lib/s3.py).

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit sqlite3 python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"
PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=$tmp/disks.sqlite

# --- What is set -------------------------------------------------------------

sqlblock create -q plain web --size=8M
cp plain before
sqlblock set plain litestream=on 2>out
grep -qx "set litestream=on of the database" out || fail "$(cat out)"
[ "$(query plain "SELECT name, sql FROM sqlite_schema
  WHERE name LIKE '%litestream%' ORDER BY name")" = \
  "_litestream_lock CREATE TABLE _litestream_lock (id INTEGER)
_litestream_seq CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)" ] ||
  fail "these are not Litestream's tables"
features="SELECT disk, class FROM feature WHERE name = 'litestream'"
[ "$(query plain "$features")" = "0 2" ] ||
  fail "older programs do not know of it"
sqlblock set -q plain / litestream=on
[ "$(sqlblock get plain / litestream -H -o value,source)" = $'on\tlocal' ] ||
  fail "get"
fails 2 "of the database only" set plain web litestream=on
fails 2 "of the database only" inherit plain web litestream
[ -z "$(sqlblock get plain web -H -o property | grep litestream)" ] ||
  fail "a disk has it"
fails 2 "litestream" set plain litestream=maybe
# A backup is no replica's source.
sqlblock backup -q plain copy
[ "$(sqlblock get copy / litestream -H -o value)" = off ] || fail "backup"
[ -z "$(sqlite3 copy .schema | grep litestream)" ] || fail "backup: tables"
[ -z "$(query copy "$features")" ] || fail "backup: feature"
sqlblock check -q plain
sqlblock check -q copy
for how in "set -q plain litestream=off" "inherit -q plain / litestream"; do
  sqlblock set -q plain litestream=on
  # shellcheck disable=SC2086
  sqlblock $how
  [ -z "$(sqlite3 plain .schema | grep litestream)" ] || fail "off: tables"
  [ -z "$(query plain "$features")" ] || fail "off: feature"
  sqlblock check -q plain
done

# --- The page that Litestream writes -----------------------------------------

# bump FILE [SQL]: change the file as Litestream does, and have it in the file.
bump ()
{
  query "$1" "${2-UPDATE _litestream_seq SET seq = seq + 1}"
  query "$1" "PRAGMA wal_checkpoint (TRUNCATE)" >>"$tmp/bumps"
}

# stale FILE: how many pages do not fit, or have no checksum, as check says.
stale ()
{
  sqlblock check -q --json "$1" | python3 -c 'import json, sys
print(json.load(sys.stdin)["pages_without_checksum"])'
}

sqlblock set -q plain litestream=on
[ "$(stale plain)" = 0 ] || fail "not all pages have a checksum"
for _ in $(seq 130); do # the number becomes longer
  query plain "UPDATE _litestream_seq SET seq = seq + 1"
done
bump plain
[ "$(stale plain)" = 1 ] || fail "a page of Litestream is not noticed"
cp plain off
sqlblock set -q off litestream=off || fail "off with such a page"
sqlblock check -q off
sqlblock check -q --repair plain
[ "$(stale plain)" = 0 ] || fail "the page got no checksum"
bump plain

# It is none where anything else stands there, or the page is another one.
root=$(query plain "SELECT rootpage FROM sqlite_schema
  WHERE name = '_litestream_seq'")
# spoil NAME PYTHON: a copy with page, of the root, as PYTHON leaves it.
spoil ()
{
  python3 - plain "$1" "$root" "$2" <<'EOF2'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
root = int(sys.argv[3])
page = data[(root - 1) * 4096:root * 4096]
exec(sys.argv[4])
data[(root - 1) * 4096:root * 4096] = page
open(sys.argv[2], "wb").write(data)
EOF2
}
start='at = page[8] * 256 + page[9]'
spoil type "page[0] = 5"
spoil cells "page[4] = 2"
spoil place "page[9] ^= 1"
spoil row "$start; page[at + 1] = 2"
spoil header "$start; page[at + 2] = 9"
spoil column "$start; page[at + 3] = 1"
spoil text "$start; page[at + 4] = 13"
for name in type cells place row header column text; do
  ! sqlblock check -q "$name" >out 2>&1 ||
    fail "a damaged page of Litestream is accepted: $name"
done
query plain "DELETE FROM _litestream_seq" # which Litestream never does
bump plain "INSERT INTO _litestream_seq VALUES (2, 1)"
! sqlblock check -q plain >out 2>&1 || fail "another row is accepted"

# --- Beside a server ---------------------------------------------------------

litestream=(python3 "$srcdir/lib/litestream.py")

# replicate PLACE: until it is killed; its process is $replication.
replicate ()
{
  "${litestream[@]}" replicate "$db" "$1" >>"$tmp/litestream.log" 2>&1 &
  replication=$!
  started_pids+=("$replication")
}

# is_restored PLACE [NUMBER]: is request NUMBER in what is restored from there?
# That is the file "restored", which is accepted, and its disk is in "image".
is_restored ()
{
  rm -f restored*
  "${litestream[@]}" restore -o "$tmp/restored" "$1" >>"$tmp/litestream.log" \
    2>&1 || return 1
  sqlblock check -q --accept restored >check.log 2>&1 || {
    cat check.log
    fail "what was restored is not right"
  }
  sqlblock export -q --overwrite restored web image
  [ "$(python3 "$srcdir/lib/drill.py" newest image)" -ge "${2-1}" ]
}

# begin_writing: one client writes and flushes; what is flushed is in "flushed".
begin_writing ()
{
  rm -f flushed
  python3 "$srcdir/lib/drill.py" write "$tmp/s" web flushed 2>writer.log &
  writer=$!
  started_pids+=("$writer")
}

# has_flushed NUMBER
has_flushed ()
{
  [ -s flushed ] && [ "$(cat flushed)" -ge "$1" ]
}

# kill_all PROCESS...
kill_all ()
{
  kill -9 "$@"
  wait "$@" 2>/dev/null || :
}

# drill PLACE: see above.
drill ()
{
  local place=$1 synced last got
  rm -rf "$db"* .disks.sqlite-litestream
  sqlblock create -q "$db" web --size=8M --compression=none
  sqlblock set -q "$db" litestream=on
  start_nbdkit s "$plugin" "$db" log-size=16M
  replicate "$place"
  begin_writing
  wait_for has_flushed 300
  synced=$(cat flushed)
  wait_for is_restored "$place" "$synced"
  kill_all "$writer" "$replication" "$nbdkit_pid"
  last=$(cat flushed)

  # What is left is opened without a word, and as it was.
  cp "$db" left
  cp "$db-wal" left-wal
  sqlblock export -q --overwrite left web image
  python3 "$srcdir/lib/drill.py" compare image
  got=$(python3 "$srcdir/lib/drill.py" newest image)
  [ "$got" -ge "$last" ] || fail "$got requests are there, $last were flushed"

  # What is restored.
  rm -rf "$db"* .disks.sqlite-litestream
  is_restored "$place" "$synced" || fail "what was synced is not restored"
  python3 "$srcdir/lib/drill.py" compare image
  got=$(python3 "$srcdir/lib/drill.py" newest image)
  echo "$place: $synced were synced, $last flushed, $got restored"
  mv restored "$db"
  start_nbdkit s "$plugin" "$db" log-size=16M
  nbdcopy "$(uri s web)" served
  cmp image served || fail "the server shows something else"
  stop_nbdkit
  sqlblock check -q "$db"
}

drill "file://$tmp/replica"
[ "$(cat replica/generation)" = 1 ] ||
  fail "the whole was copied $(cat replica/generation) times"
! grep -q "warning: .*log has grown" s.log || fail "a warning about the log"

# --- The log -----------------------------------------------------------------

# fill MIB [SECONDS]: write so much, as fast as it goes, or for so long.
fill ()
{
  nbdsh -u "$(uri s web)" -c "
import os, time
data = os.urandom(1 << 20)
end = time.monotonic() + ${2-1000}
for i in range($1):
    if time.monotonic() < end:
        h.pwrite(data, (i % 8) << 20)"
}

log_mib ()
{
  echo $(($(stat -c %s "$db-wal") >> 20))
}

# It keeps its bound.
rm -rf replica "$db"*
sqlblock create -q "$db" web --size=8M --compression=none
start_nbdkit s "$plugin" "$db" log-size=16M
await_answer s
# A server notices that it is set.
fill 1
sqlblock set -q "$db" litestream=on
fill 1
LITESTREAM_INTERVAL=1 replicate "file://$tmp/replica"
fill 100
[ "$(log_mib)" -le 24 ] || fail "the log has $(log_mib) MiB, its bound is 16"
# Also while Litestream does something else for some seconds.
kill -STOP "$replication"
fill 1000 5
kill -CONT "$replication"
[ "$(log_mib)" -le 26 ] || fail "the log has $(log_mib) MiB, its bound is 16"
! grep -q "warning: .*log has grown" s.log || fail "a warning about the log"

# Litestream starts anew the log of a server that was killed, which is taken.
kill_all "$nbdkit_pid"
has_begun_anew ()
{
  query "$db" "UPDATE _litestream_seq SET seq = seq + 1"
  [ "$(python3 -c 'import struct, sys
print(*struct.unpack_from("=I", open(sys.argv[1], "rb").read(48), 16))' \
    "$db-shm")" -le 2 ]
}
wait_for has_begun_anew
root=$(query "$db" "SELECT rootpage FROM sqlite_schema
  WHERE name = '_litestream_seq'")
kill_all "$replication"
# left_with NUMBER: copies of both files; of Litestream's number in the file the
# last byte is so much more.
left_with ()
{
  cp "$db-wal" left-wal
  python3 - "$db" left "$root" "$1" <<'EOF2'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
at = int(sys.argv[3]) * 4096 - 9
data[at] = (data[at] + int(sys.argv[4])) % 256
open(sys.argv[2], "wb").write(data)
EOF2
}
left_with 0
sqlblock check -q left >out 2>&1 || {
  cat out
  fail "a log that Litestream has begun is refused"
}
for number in -1 100; do # before the log, and behind it
  left_with "$number"
  expect_error "does not belong" sqlblock check left
done

# Nor does a file that was copied before a log of ours began fit the log that
# Litestream lets start after it: what was in the one between would be missing.
sqlblock create -q mixed web --size=1M
sqlblock set -q mixed litestream=on
start_nbdkit m "$plugin" mixed
writes ()
{
  nbdsh -u "$(uri m web)" -c "h.pwrite (b'$1' * 4096, $2)" -c "h.flush ()"
}
writes a 0
stop_nbdkit
start_nbdkit m "$plugin" mixed
writes a 4096
cp mixed older
writes b 0
python3 -c '
import os, sqlite3
litestream = sqlite3.connect("mixed", isolation_level=None)
litestream.execute("PRAGMA wal_checkpoint (RESTART)").fetchone()
litestream.execute("UPDATE _litestream_seq SET seq = seq + 1")
os._exit(0)'
writes c 8192
cp mixed-wal older-wal
kill_nbdkit
expect_error "does not belong" sqlblock check older
sqlblock check -q mixed

start_nbdkit s "$plugin" "$db" log-size=16M
await_answer s

# Without Litestream the server lets the log start over, after a while.
fill 60
[ "$(log_mib)" -le 40 ] || fail "the log has $(log_mib) MiB without Litestream"
stop_nbdkit
sqlblock check -q "$db"

# --- The same with Litestream itself -----------------------------------------

litestream=("${LITESTREAM:-$(type -P litestream || :)}")
if [ -z "${litestream[0]}" ]; then
  echo "not tried with Litestream itself, which is not installed"
  exit 0
fi
"${litestream[@]}" version
rm -rf replica
drill "file://$tmp/replica"
export LITESTREAM_ACCESS_KEY_ID=any LITESTREAM_SECRET_ACCESS_KEY=any
mkdir s3
python3 "$srcdir/lib/s3.py" s3 port &
started_pids+=($!)
wait_for test -s port
drill "s3://drill.localhost:$(cat port)/disks"
