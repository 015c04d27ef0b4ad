#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# sqlblock send and receive: chains of snapshots arrive as they were, by
# checksum; a stream that is cut, changed or for another disk changes
# nothing; neither does kill -9, and the next try works.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh nbdcopy python3 cmp sha256sum mkfifo fallocate

PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=here.sqlite
there=there.sqlite

# What fails gives to sqlblock.
export fails_input=stream

# What is asked is a copy: after a kill a query must not be the last one to close
# the file itself.
is_coming_in ()
{
  rm -f look*
  cp "$there" look
  [ ! -e "$there-wal" ] || cp "$there-wal" look-wal
  is_receiving look 2>/dev/null
}

# sum FILE EXPORT: the checksum of what a server shows.
sum ()
{
  nbdkit -r -U - "$plugin" "$1" --run \
    "nbdcopy nbd+unix:///$2?socket=\$unixsocket - | sha256sum" </dev/null
}

# change SEED: write and trim here and there in the disk web of $db.
change ()
{
  nbdkit -U - "$plugin" "$db" --run "nbdsh -u 'nbd+unix:///web?socket='\$unixsocket -c '
import random
random.seed($1)
size = h.get_size()
for i in range(20):
    length = random.randint(1, 100000)
    offset = random.randrange(size - length)
    if i % 4 == 3:
        h.zero(length, offset)
    else:
        h.pwrite(random.randbytes(length), offset)
h.trim(1 << 20, (random.randrange(size >> 20)) << 20)
h.flush()'"
}

# --- A chain -----------------------------------------------------------------

sqlblock create -q "$db" web --size 33333333 --description "the web"
change 0
sqlblock snapshot create -q "$db" web@0
sqlblock send "$db" web@0 >stream
sqlblock receive -q "$there" <stream
for i in $(seq 20); do
  change "$i"
  case $i in
  7) sqlblock resize -q "$db" web 44444444 ;;
  14) sqlblock resize -q --shrink "$db" web 22222222 ;;
  esac
  sqlblock snapshot create -q "$db" "web@$i"
  if [ $((i % 5)) != 3 ]; then
    sqlblock send "$db" "web@$i" --from "${last-0}" |
      sqlblock receive -q "$there"
    last=$i
  fi
done
for i in 0 1 2 4 5 6 7 9 14 15 20; do
  [ "$(sum "$db" "web@$i")" = "$(sum "$there" "web@$i")" ] ||
    fail "the snapshot $i did not arrive as it was"
done
[ "$(sum "$db" web@20)" = "$(sum "$there" web)" ] || fail "the disk differs"
[ "$(query "$db" "SELECT name, guid, size, created FROM snapshot WHERE name
  IN ('0', '6', '20') ORDER BY id")" = "$(query "$there" "SELECT name, guid,
  size, created FROM snapshot WHERE name IN ('0', '6', '20') ORDER BY id")" ] ||
  fail "snapshots lost their properties"
sqlblock compact "$there" >/dev/null
[ "$(query "$there" "SELECT count (*) FROM layer")" = 1 ] ||
  fail "layers pile up where snapshots are received"

# What was cut off does not come back.
for file in "$db" "$there"; do
  sqlblock clone -q "$file" web@20 grown
  sqlblock resize -q "$file" grown 44444444
done
[ "$(sum "$db" grown)" = "$(sum "$there" grown)" ] ||
  fail "old bytes show where a disk shrank and grew again"

# Back again, under another name; into a database that is being served.
sqlblock send "$there" web@20 >stream
sqlblock receive -q "$db" copy <stream
[ "$(sum "$db" copy)" = "$(sum "$there" web)" ] || fail "the copy differs"

# --- Refusals ----------------------------------------------------------------

fails 2 "a snapshot is sent" send "$db" web
fails 3 "no snapshot 'x'" send "$db" web@x
fails 3 "no snapshot 'x'" send "$db" web@3 --from x
fails 1 "not older" send "$db" web@3 --from 4
fails 1 "not older" send "$db" web@3 --from 3
fails 1 "was not cloned from" send "$db" web@3 --from copy@20
fails 4 "disk 'copy' has this snapshot already, as '20'" receive "$db" copy
sqlblock send "$there" web@15 >stream
fails 4 "a disk 'copy' already" receive "$db" copy
sqlblock send "$db" web@20 --from 18 >stream
fails 1 "does not have the snapshot '18'" receive "$there"
grep -qF "has this snapshot already, as '20'" err ||
  fail "it does not say that nothing is to be received: $(cat err)"
fails 3 "no disk" receive "$there" wbe
grep -qF "changed since snapshot '18', receive that first" err ||
  fail "it does not say what is missing: $(cat err)"
fails 3 "no file" receive nowhere.sqlite
grep -qF "changed since snapshot 'web@18', receive that first" err ||
  fail "it does not say what is missing: $(cat err)"
! grep -q "sqlblock create" err || fail "bad advice: $(cat err)"
[ ! -e nowhere.sqlite ] || fail "a refused stream has made a database"
sqlblock send "$db" web@20 --from 17 >stream
fails 4 "this snapshot already" receive --rollback "$there"

# One that was received before is there, whatever came later; what is missing
# is named.
sqlblock send "$db" web@3 >stream
sqlblock receive -q chain.sqlite <stream
sqlblock send "$db" web@4 --from=3 >stream
sqlblock receive -q chain.sqlite <stream
fails 4 "has this snapshot already, as '4'" receive chain.sqlite
! grep -q -- --rollback err || fail "dangerous advice: $(cat err)"
sqlblock send "$db" web@7 --from=5 >stream
fails 1 "does not have the snapshot '5'" receive chain.sqlite
sqlblock snapshot list chain.sqlite | grep -c web@ | grep -qx 2

# Interrupted by the user, who is not told of a system call.
mkfifo half
sqlblock send -q "$db" web@3 >stream
sqlblock receive half.sqlite <half 2>err &
pid=$!
started_pids+=("$pid")
exec 9>half
head -c 200000 stream >&9
is_half_in ()
{
  [ "$(query half.sqlite "SELECT count (*) FROM disk WHERE name LIKE
    '%/receiving'" 2>/dev/null)" = 1 ]
}
wait_for is_half_in
kill "$pid"
got=0
wait "$pid" || got=$?
exec 9>&-
[ "$got" = 143 ] || fail "SIGTERM: exit code $got"
[ "$(cat err)" = "sqlblock: reading the stream: interrupted" ] ||
  fail "an interrupted receive says: $(cat err)"

# What was written there since is given up only if that is said.
change 21
sqlblock snapshot create -q "$db" web@21
sqlblock send "$db" web@21 --from 20 >stream
start_nbdkit there "$plugin" "$there"
nbdsh -u "$(uri there web)" -c 'h.pwrite(b"mine" * 128, 5000000)'
nbdsh -u "$(uri there web)" -c '
h.pread(1, 0)
open("ready", "w")
import time
time.sleep(99)' &
client=$!
started_pids+=("$client")
wait_for test -e ready
fails 5 "open for writing" receive "$there"
fails 5 "open for writing" receive --rollback "$there"
# What no waiting would help with is said first.
sqlblock send "$db" web@20 --from 17 >again
fails_input=again fails 4 "this snapshot already" receive "$there"
sqlblock send "$db" web@21 --from 18 >gap
fails_input=gap fails 1 "does not have the snapshot '18'" receive "$there"
kill -9 "$client"
stop_nbdkit
fails 1 "was written since" receive "$there"
sqlblock snapshot create -q "$there" web@mine
mine=$(sum "$there" web)
fails 1 "newer" receive "$there"
sqlblock receive -q --rollback "$there" <stream
[ "$(sum "$db" web@21)" = "$(sum "$there" web)" ] || fail "not rolled back"
[ "$mine" = "$(sum "$there" web@mine)" ] || fail "a newer snapshot changed"
fails 4 "this snapshot already" receive --rollback "$there"

# --- Damage ------------------------------------------------------------------

# A small disk, whose stream is cut and changed at many places.
sqlblock create -q "$db" small --size 20000
python3 -c 'print("x" * 5000, end="")' >text
nbdkit -U - "$plugin" "$db" --run \
  "nbdsh -u 'nbd+unix:///small?socket='\$unixsocket -c '
h.pwrite(open(\"text\", \"rb\").read(), 3000)'"
sqlblock snapshot create -q "$db" small@a
nbdkit -U - "$plugin" "$db" --run \
  "nbdsh -u 'nbd+unix:///small?socket='\$unixsocket -c '
h.trim(4096, 4096)
h.pwrite(b\"y\" * 100, 19000)'"
sqlblock snapshot create -q "$db" small@b
sqlblock send "$db" small@a >a.stream
sqlblock send "$db" small@b --from a >b.stream
sqlblock receive -q "$there" <a.stream
before=$(sum "$there" small)
python3 - "$there" <<'EOF2'
import random, struct, subprocess, sys

there = sys.argv[1]
with open("b.stream", "rb") as file:
    stream = file.read()
tries = 0

def refused(data, what):
    global tries
    tries += 1
    result = subprocess.run(["sqlblock", "receive", there], input=data,
                            capture_output=True)
    if result.returncode != 1 or not result.stderr.startswith(b"sqlblock: "):
        sys.exit("%s: exit code %d, %s" % (what, result.returncode,
                                           result.stderr.decode()))

# Each record begins behind the last one's 48 bytes and its payload.
starts = [24]
while starts[-1] < len(stream):
    starts.append(starts[-1] + 48 +
                  struct.unpack_from("<Q", stream, starts[-1] + 24)[0])
assert starts[-1] == len(stream) and len(starts) > 4, starts
for start in starts[:-1]:
    for cut in (start - 1, start, start + 1, start + 48):
        refused(stream[:cut], "cut at %d" % cut)
refused(b"", "nothing")
for i in range(1, len(starts) - 1):
    refused(stream[:starts[i]] + stream[starts[i + 1]:], "without record %d" % i)
seed = random.randrange(1 << 32)
print("seed", seed)
random.seed(seed)
heads = [start + i for start in starts[:-1] for i in range(0, 48, 7)]
for at in heads + [random.randrange(len(stream)) for i in range(150)]:
    changed = bytearray(stream)
    changed[at] ^= 1 << random.randrange(8)
    refused(bytes(changed), "changed at %d" % at)
print(tries, "streams refused")
EOF2
[ "$before" = "$(sum "$there" small)" ] || fail "a refused stream was applied"
[ "$(query "$there" "SELECT count (*) FROM disk WHERE name LIKE '%/%'")" = 0 ]
sqlblock receive -q "$there" <b.stream
[ "$(sum "$db" small@b)" = "$(sum "$there" small)" ]

# --- One behind the other ----------------------------------------------------

# What came before something wrong was complete, and stays.
cat a.stream b.stream | sqlblock receive two.sqlite 2>err
grep -qF "received 'small@b'" err
[ "$(sum "$db" small@b)" = "$(sum two.sqlite small)" ]
cat a.stream b.stream a.stream | sqlblock receive two.sqlite 2>err ||
  fail "what is there already: $(cat err)"
grep -qF "3 snapshots there already" err || fail "not said: $(cat err)"
(cat a.stream && echo something) >more
fails_input=more fails 1 "that is no stream follows the end" receive junk.sqlite
grep -qF "received 'small@a'" err && grep -qF "stays" err ||
  fail "it does not say what it has done: $(cat err)"
[ "$(sum "$db" small@a)" = "$(sum junk.sqlite small)" ]
(cat a.stream && head -c 10 b.stream) >more
fails_input=more fails 1 "ends in its first bytes" receive cut.sqlite
(cat a.stream && head -c -1 b.stream) >more
fails_input=more fails 1 "too early" receive cut.sqlite
grep -qF "1 snapshot there already" err || true
sqlblock snapshot list cut.sqlite | grep -c small@ | grep -qx 1
cat b.stream a.stream >more
fails_input=more fails 3 "receive that first" receive turned.sqlite

# --- kill -9 -----------------------------------------------------------------

change 22
sqlblock snapshot create -q "$db" web@22
sqlblock send "$db" web@22 --from 21 >stream
before=$(sum "$there" web)
mkfifo fifo

# killed ARGUMENT...: a reception is killed when much, or all but the last
# byte, has come in.
killed ()
{
  local part
  for part in $(($(stat -c %s stream) / 2)) $(($(stat -c %s stream) - 1)); do
    sqlblock receive "$@" <fifo &
    pid=$!
    started_pids+=("$pid")
    exec 9>fifo
    head -c "$part" stream >&9
    wait_for is_coming_in
    sleep 0.2
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || :
    exec 9>&-
  done
}

killed "$there" web
[ "$before" = "$(sum "$there" web)" ] || fail "a killed reception shows"
is_coming_in || fail "nothing was left to be removed"
sqlblock compact "$there" | grep -q "receptions removed: *1"
! is_coming_in || fail "compact left what is left of a reception"
killed "$there" web
sqlblock receive -q "$there" <stream
[ "$(sum "$db" web@22)" = "$(sum "$there" web)" ] || fail "the next try failed"
! is_coming_in || fail "the next try left something"
sqlblock send "$db" web@22 >stream
killed "$there" new
sqlblock receive -q "$there" new <stream
[ "$(sum "$db" web@22)" = "$(sum "$there" new)" ] || fail "the next try failed"

# A client that reads, through all of it, either state but no mixture.
start_nbdkit reader -r "$plugin" "$there"
change 23
sqlblock snapshot create -q "$db" web@23
sqlblock send "$db" web@23 --from 22 >stream
blocks=$(query "$there" "SELECT count (*) FROM block")
sqlblock receive -q "$there" <fifo &
receiver=$!
started_pids+=("$receiver")
exec 9>fifo
head -c 300000 stream >&9
wait_for is_coming_in
nbdcopy "$(uri reader web)" - | sha256sum >reader.sum
[ "$(cat reader.sum)" = "$(sum "$db" web@22)" ] ||
  fail "what comes in shows too early"
fails 5 "open for writing" receive "$there"
sqlblock backup -q "$there" copy.sqlite
[ "$(query copy.sqlite "SELECT count (*) FROM block")" = "$blocks" ] ||
  fail "a backup has what is just coming in"
[ "$(query copy.sqlite "SELECT count (*) FROM disk WHERE name LIKE '%/%'")" = 0 ]
[ "$(sum copy.sqlite web)" = "$(sum "$db" web@22)" ] || fail "the backup differs"
tail -c +300001 stream >&9
exec 9>&-
wait "$receiver"
nbdcopy "$(uri reader web)" - | sha256sum >reader.sum
[ "$(cat reader.sum)" = "$(sum "$db" web@23)" ] || fail "not received"
stop_nbdkit

# A sender that is killed, or whose reader goes away.
(sqlblock send "$db" web@23 2>err || echo "$?" >code) | head -c 100000 >/dev/null
grep -q "Broken pipe" err || fail "a broken pipe: $(cat err)"
[ "$(cat code)" = 1 ] || fail "a broken pipe: exit code $(cat code)"
sqlblock compact "$db" >/dev/null
[ "$(query "$db" "SELECT count (*) FROM snapshot WHERE name LIKE '%/%'")" = 0 ]

# --- While servers write here and there --------------------------------------

sqlblock create -q "$db" live --size 128m
start_nbdkit here "$plugin" "$db"
python3 "$srcdir/lib/ordered.py" write "$(uri here live)" >writer.log 2>&1 &
writer=$!
started_pids+=("$writer")
start_nbdkit there "$plugin" "$there"
nbdsh -u "$(uri there small)" -c '
import os
while True:
    h.pwrite(os.urandom(4096), 4096)' &
started_pids+=("$!")
other=$!
wait_for grep -q writing writer.log
from=()
for i in $(seq 10); do
  sqlblock snapshot create -q "$db" "live@$i"
  sqlblock send "$db" "live@$i" "${from[@]}" | sqlblock receive -q "$there"
  sqlblock export "$there" "live@$i" - >live.raw
  python3 "$srcdir/lib/ordered.py" check live.raw
  sqlblock export "$db" "live@$i" - | cmp - live.raw
  from=(--from "$i")
done
kill -9 "$writer" "$other"

# --- A full file system ------------------------------------------------------

if ! "${own_mounts[@]}" true 2>/dev/null; then
  echo "mounting needs root: full file systems were not tried"
  exit
fi
dd if=/dev/urandom of=random bs=1M count=20 status=none
sqlblock import "$db" large random
sqlblock snapshot create -q "$db" large@a
sqlblock send "$db" large@a >stream
export -f fails fail
"${own_mounts[@]}" bash -euo pipefail <<'EOF2'
mkdir full
mount -t tmpfs -o size=8M none full
sqlblock create -q full/disk.sqlite disk --size 1m
fails 1 "full" receive full/disk.sqlite
[ "$(sqlblock list full/disk.sqlite | wc -l)" = 2 ]
mount -o remount,size=100M full
sqlblock receive -q full/disk.sqlite <stream
sqlblock export full/disk.sqlite large@a - | cmp - random
EOF2
