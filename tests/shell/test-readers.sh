#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Who reads a snapshot by its name keeps it: a client of a server, and a send,
# with what it sends from. Deleting it is refused, and says who reads it; kill
# -9 of the reader lets go. A history passes it over, and comes back. An export
# and a backup keep what they read in another way: there deleting succeeds, and
# the space follows.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3 cmp mkfifo
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=disks.sqlite
mkfifo fifo

write ()
{
  nbdkit -U - "$plugin" "$db" --run "nbdsh -u 'nbd+unix:///web?socket='\$unixsocket -c '
import random
random.seed($1)
for i in range(2000):
    h.pwrite(random.randbytes(4096), 4096 * i)'"
}

# make: a disk with the snapshots a, b, c.
make ()
{
  local i=0 name
  rm -f "$db"*
  sqlblock create -q "$db" web --size=64M
  for name in a b c; do
    i=$((i + 1))
    write "$i"
    sqlblock snapshot create -q "$db" "web@$name"
  done
  sqlblock export "$db" web@a a.raw --force
}

# start_reader EXPORT: a client that stays connected, process $reader, to the
# server at the socket s.
start_reader ()
{
  rm -f ready
  nbdsh -u "$(uri s "$1")" -c '
import time
h.pread(4096, 0)
open("ready", "w").close()
while True:
    h.pread(65536, 0)
    time.sleep(0.05)' 2>reader.err &
  reader=$!
  started_pids+=("$reader")
  wait_for test -e ready
}

# start_send ARGUMENT...: a send that stands still, process $reader, until what
# it writes is read from descriptor 8.
start_send ()
{
  sqlblock send -q "$db" "$@" >fifo &
  reader=$!
  started_pids+=("$reader")
  exec 8<fifo
  head -c 100000 <&8 >stream
}

end_reader ()
{
  kill -9 "$reader" 2>/dev/null || :
  wait "$reader" 2>/dev/null || :
}

# busy WHO ARGUMENT...: refused, and nothing has changed.
busy ()
{
  local who=$1
  shift
  sqlblock list "$db" --all >before
  fails 5 "process $who on $(uname -n | head -c 10)" "$@"
  sqlblock list "$db" --all | cmp - before || fail "something was changed: $*"
}

# --- A client ------------------------------------------------------------------

make
start_nbdkit s "$plugin" "$db"
start_reader web@a
busy "$nbdkit_pid" snapshot delete "$db" web@a
busy "$nbdkit_pid" snapshot delete "$db" web@a -n
busy "$nbdkit_pid" snapshot delete "$db" web@c web@a
busy "$nbdkit_pid" snapshot delete "$db" web@..b
busy "$nbdkit_pid" delete "$db" web --snapshots
busy "$nbdkit_pid" delete "$db" web --snapshots -n
# All else goes on: another snapshot, a new name, a roll-back, a clone.
sqlblock snapshot delete -q "$db" web@b
sqlblock rename -q "$db" web@a old
busy "$nbdkit_pid" snapshot delete "$db" web@old
sqlblock rename -q "$db" web@old a
sqlblock rename -q "$db" web www
busy "$nbdkit_pid" snapshot delete "$db" www@a
sqlblock rename -q "$db" www web
sqlblock rollback -q "$db" web@a
sqlblock clone -q "$db" web@a copy
# What is read is what was there.
nbdsh -u "$(uri s web@a)" -c '
with open("a.raw", "rb") as file:
    for i in range(0, 64 << 20, 1 << 20):
        assert h.pread(1 << 20, i) == file.read(1 << 20), i'
kill -0 "$reader" || fail "the reader has ended: $(cat reader.err)"
# A client that goes lets go, at once as a user sees it, and so does a second.
first=$reader
start_reader web@a
second=$reader
kill -9 "$first"
busy "$nbdkit_pid" snapshot delete "$db" web@a
kill -9 "$second"
sqlblock snapshot delete "$db" web@a 2>err || fail "$(cat err)"
# A server that is killed lets go, too.
start_reader web@c
busy "$nbdkit_pid" snapshot delete "$db" web@c
kill_nbdkit
sqlblock snapshot delete -q "$db" web@c
end_reader

# A name that is a time holds the snapshot that it means.
make
start_nbdkit s "$plugin" "$db"
start_reader "web@2199-01-01"
sqlblock snapshot delete -q "$db" web@a
busy "$nbdkit_pid" snapshot delete "$db" web@c
# Several readers, in several processes: as long as one is there.
server=$nbdkit_pid
start_send web@c
busy "$server" snapshot delete "$db" web@c
kill_nbdkit "$server"
busy "$reader" snapshot delete "$db" web@c
end_reader
exec 8<&-
sqlblock snapshot delete -q "$db" web@c
# --force deletes a disk all the same, and the client gets errors.
start_nbdkit s "$plugin" "$db"
start_reader web@b
sqlblock delete -q "$db" web --snapshots --force
wait "$reader" && fail "a client reads what is not there"
grep -qE "Input/output error|not connected" reader.err ||
  fail "$(cat reader.err)"
stop_nbdkit

# --- send ----------------------------------------------------------------------

make
sqlblock send "$db" web@b >whole.stream
start_send web@b
busy "$reader" snapshot delete "$db" web@b
busy "$reader" delete "$db" web --snapshots
sqlblock rename -q "$db" web@b other
sqlblock rename -q "$db" web www
# The space of what else is deleted is freed meanwhile.
sqlblock snapshot delete "$db" www@a 2>err
grep -q freed err || fail "nothing was freed: $(cat err)"
sqlblock compact -q "$db" || fail "compact beside a send"
cat <&8 >>stream
wait "$reader" || fail "the send has ended with $?"
exec 8<&-
cmp stream whole.stream || fail "what was sent is not the snapshot"
sqlblock snapshot delete -q "$db" www@other

make
sqlblock send "$db" web@c --from b >part.stream
start_send web@c --from b
busy "$reader" snapshot delete "$db" web@b
busy "$reader" snapshot delete "$db" web@c
sqlblock snapshot delete -q "$db" web@a
cat <&8 >>stream
wait "$reader" || fail "the send has ended with $?"
exec 8<&-
cmp stream part.stream || fail "what was sent is not the difference"
for snapshot in b c; do
  start_send web@c --from b
  busy "$reader" snapshot delete "$db" "web@$snapshot"
  end_reader
  exec 8<&-
  sqlblock snapshot delete -q "$db" "web@$snapshot"
  make
done

# --- export and backup keep hidden snapshots -------------------------------------

sqlblock export "$db" web@a - >fifo &
reader=$!
started_pids+=("$reader")
exec 8<fifo
head -c 100000 <&8 >out.raw
got=0
sqlblock snapshot delete "$db" web@a 2>err || got=$?
[ "$got" = 0 ] || fail "exit code $got: $(cat err)"
sqlblock list "$db" --all | grep web@a && fail "it was not deleted"
cat <&8 >>out.raw
exec 8<&-
wait "$reader" || fail "the export has ended with $?"
cmp a.raw out.raw
sqlblock compact "$db" >out
grep -q "freed" out
[ "$(query "$db" 'SELECT count (*) FROM reclaim')" = 0 ]
# The same when it is killed.
sqlblock export "$db" web@b - >fifo &
reader=$!
started_pids+=("$reader")
exec 8<fifo
head -c 100000 <&8 >out.raw
got=0
sqlblock snapshot delete "$db" web@b 2>err || got=$?
[ "$got" = 0 ] || fail "exit code $got: $(cat err)"
end_reader
exec 8<&-
sqlblock compact -q "$db"
[ "$(query "$db" "SELECT count (*) FROM snapshot WHERE name LIKE '%/%'")" = 0 ]

# --- A history -----------------------------------------------------------------

make
start_nbdkit s "$plugin" "$db" auto-snapshot=1s keep=all:2s
python3 -c '
import nbd, os, time, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
while True:
    h.pwrite(os.urandom(4096), 0)
    time.sleep(0.2)' "$(uri s web)" 2>/dev/null &
started_pids+=("$!")
automatic ()
{
  query "$db" "SELECT name FROM snapshot WHERE automatic ORDER BY id LIMIT 1"
}
has_automatic ()
{
  [ -n "$(automatic)" ]
}
wait_for has_automatic
held=
for i in 1 2 3 4 5; do
  held=$(query "$db" \
    "SELECT name FROM snapshot WHERE automatic ORDER BY id DESC LIMIT 1")
  start_reader "web@$held" && break
done
is_there ()
{
  [ "$(query "$db" \
    "SELECT count (*) FROM snapshot WHERE name = '$held'")" = 1 ]
}
sleep 6
is_there || fail "the history has deleted what a client reads"
kill -0 "$reader" || fail "the client has ended: $(cat reader.err)"
[ "$(query "$db" "SELECT count (*) FROM snapshot WHERE automatic")" -le 8 ] ||
  fail "the history keeps others, too"
grep -i "history" s.log && fail "the history complains"
end_reader
is_gone ()
{
  ! is_there
}
wait_for is_gone
exit 0
