#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# One server per disk: a second one is refused, by the name of the first;
# nothing has to be cleaned up after a crash; shared=true allows it, and
# both then see what the other writes.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh

db=$tmp/disk.sqlite

# hold SOCKET EXPORT: a client that has the disk open, until it is killed.
hold ()
{
  nbdsh -u "$(uri "$1" "$2")" -c "
import time
h.pwrite(b'held', 0)
open('$tmp/held', 'w').close()
time.sleep(300)" &
  client=$!
  started_pids+=("$client")
  for _ in $(seq 300); do
    [ -e "$tmp/held" ] && break
    sleep 0.1
  done
  rm "$tmp/held" || fail "the first client did not connect"
}

# put SOCKET EXPORT TEXT: write and flush.
put ()
{
  nbdsh -u "$(uri "$1" "$2")" -c "h.pwrite(b'$3', 100); h.flush()" \
    2>"$tmp/put.err"
}

# get SOCKET EXPORT TEXT: it must read so.
get ()
{
  nbdsh -u "$(uri "$1" "$2")" -c "
got = bytes(h.pread(len('$3'), 100))
assert got == b'$3', got"
}

nbdkit -U - "$plugin" "$db" size=10M --run true
nbdkit -U - "$plugin" "$db" export=web size=10M --run true
start_nbdkit a "$plugin" "$db"
a=$nbdkit_pid
start_nbdkit b "$plugin" "$db"
b=$nbdkit_pid

hold a disk
if put b disk no; then
  fail "two servers write one disk"
fi
grep -q "process $a on .* has the disk open for writing" "$tmp/b.log" || {
  cat "$tmp/b.log" >&2
  fail "the error does not name the holder"
}

# The file by another name is the same file.
ln -s disk.sqlite "$tmp/link.sqlite"
start_nbdkit l "$plugin" "$tmp/link.sqlite"
if put l disk no; then
  fail "two servers write one disk, one of them by a symbolic link"
fi

# Another disk, another client of the same server, and reading are fine.
put b web other
put a disk same
start_nbdkit r -r "$plugin" "$db"
get r disk same

# When the client goes, the disk is free.
kill "$client"
wait "$client" 2>/dev/null || :
for _ in $(seq 100); do
  put b disk free && break
  sleep 0.1
done
get b disk free

# When the server crashes, too.
hold a disk
kill_nbdkit "$a"
put b disk crash
get b disk crash
get r disk crash
kill_nbdkit "$b"

[ "$(stat -c %a "$db-lock")" = 600 ] || fail "$db-lock is not private"

# On purpose.
start_nbdkit a "$plugin" "$db" shared=true
start_nbdkit b "$plugin" "$db" shared=true
hold a disk
for i in $(seq 20); do
  put a disk "a$i"
  get b disk "a$i"
  put b disk "b$i"
  get a disk "b$i"
done
get r disk b20
