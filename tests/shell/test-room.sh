#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What a disk that has filled its file system can still do: most of the room
# holds data, what is there can be overwritten, to trim and to delete works at
# once and makes room, and a command that fails gives back what it took. See
# store/sqlite/vfs_room.h and store/sqlite/reserve.h.
#
# Mounting needs root; it is done in a mount namespace of this test.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3 unshare mount fallocate
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

in_own_mounts "$@"
PATH=$top_builddir/tool:$PATH

client ()
{
  PYTHONDONTWRITEBYTECODE=1 timeout 300 python3 "$srcdir/lib/room.py" "$room" \
    "$tmp/s" "$@" || {
    tail -n 5 "$tmp/s.log" >&2
    fail "$name: $1"
  }
}

serve ()
{
  start_nbdkit s "$plugin" "$db" "$@"
}

# A database of two disks, larger than the room.
make_disks ()
{
  rm -f "$room"/disks*
  must_work create "$db" disk --size=8G --compression=none
  must_work create "$db" other --size=1G --compression=none
}

available ()
{
  df --output=avail -B1 "$room" | tail -n 1
}

# must_work COMMAND ...

must_work ()
{
  timeout 300 sqlblock "$@" >"$tmp/out" 2>&1 || {
    cat "$tmp/out" >&2
    fail "$name: $1 on a full file system"
  }
}

# use NAME: the file system $mounts/NAME, of 200 MiB.
use ()
{
  name=$1 room=$mounts/$1 db=$mounts/$1/disks
  echo "$name:"
}

# fill [LEAST]: at least such a part of the room holds data.
fill ()
{
  make_disks
  must_work snapshot create "$db" other@s
  serve
  client full "${1-.75}"
  kill_nbdkit
  serve
  client kill 5
  stop_nbdkit
  must_work check "$db"
}

# Commands, with nothing that serves, and somebody has taken what was free.
commands ()
{
  fallocate -l "$(available)" "$room/filler"
  must_work snapshot delete "$db" other@s
  must_work delete "$db" other
  must_work compact --no-progress "$db"
  must_work create "$db" other --size=1G --compression=none
  rm "$room/filler"
}

# Another program takes what is free while nobody serves.  What frees space works
# at once; to write, when there is space again.
taken ()
{
  fallocate -l "$(available)" "$room/filler"
  serve
  client taken
  stop_nbdkit
  must_work check "$db"
}

# A killed server leaves a log that fills its file, there is no reserve, and
# another program takes what is free: the log has no room for the mark that
# would close it.
nothing_left ()
{
  serve
  client fill 0
  kill_nbdkit
  client cut_log
  truncate -s "$(stat -c %s "$db-lock")" "$db-lock"
  fallocate -l "$(available)" "$room/filler"
  serve
  must_work check "$db"
  rm "$room/filler"
  client kill 7
  stop_nbdkit
  must_work check "$db"
}

# A server that is killed again and again while it fills the rest.
kills ()
{
  local pid
  for i in 1 2 3 4 5; do
    serve
    client fill 0 >"$tmp/fill" 2>&1 &
    pid=$!
    sleep "0.$((RANDOM % 9 + 1))"
    kill_nbdkit
    wait "$pid" || true
    serve
    client kill "$i"
    kill_nbdkit
  done
  must_work check "$db"
}

# no_space WHAT COMMAND ...: it fails, and says why.
no_space ()
{
  local what=$1
  shift
  timeout 300 "$@" >"$tmp/out" 2>&1 && fail "$name: $what: it fits"
  grep -q "the file system is full" "$tmp/out" ||
    fail "$name: $what: $(cat "$tmp/out")"
}

# given_back WHAT BYTES: BYTES are free again, but for the log.
given_back ()
{
  local after tries
  for ((tries = 0; tries < 50; tries++)); do
    after=$(available)
    [ "$after" -lt $(($2 - (12 << 20))) ] || return 0
    sleep .1
  done
  fail "$name: $1 leaves $after bytes of $2"
}

# What copies much finds no space beside a server.
copies ()
{
  local before between pid
  make_disks
  serve
  client beside "$tmp/end" &
  pid=$!
  started_pids+=("$pid")
  sleep 2
  before=$(available)
  for i in 1 2; do
    no_space import sqlblock import --no-progress --compression=none "$db" new \
      "$tmp/raw"
    given_back import "$before"
  done
  no_space receive sqlblock receive "$db" new <"$tmp/stream"
  given_back receive "$before"
  head -c 100M "$tmp/raw" | sqlblock import --no-progress --compression=none \
    "$db" origin - >"$tmp/out" 2>&1 || fail "$name: $(cat "$tmp/out")"
  must_work clone "$db" origin copy
  between=$(available)
  for i in 1 2; do
    no_space flatten sqlblock flatten "$db" copy
    grep -q "flatten $db copy: " "$tmp/out" ||
      fail "$name: flatten does not say of which disk: $(cat "$tmp/out")"
    given_back flatten "$between"
  done
  sqlblock export --no-progress "$db" copy - | head -c 100M |
    cmp - <(head -c 100M "$tmp/raw") || fail "$name: the clone has changed"
  must_work delete "$db" copy
  must_work delete "$db" origin
  must_work compact --no-progress "$db"
  given_back "to delete" "$before"
  touch "$tmp/end"
  wait "$pid" || fail "$name: the other disk noticed"
  rm "$tmp/end"
  kill_nbdkit
  must_work check "$db"
}

# bounded WHAT COMMAND...: to be run beside a server with log-size=1M that is
# written to.  The log stays near that.
bounded ()
{
  local what=$1 pid size most=0
  shift
  "$@" &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    size=$(stat -c %s "$db-wal")
    [ "$size" -le "$most" ] || most=$size
    sleep .02
  done
  wait "$pid" || exit 1
  [ "$most" -gt 0 ] && [ "$most" -le $((3 << 20)) ] ||
    fail "$name: $what: the log had $most bytes"
}

# What is stored anew without compression takes more than there is.  What is
# read stays the same, and with compression it takes what it took.
recompress ()
{
  local before pid
  make_disks
  must_work import --no-progress --compression=lz4 "$db" soft "$tmp/soft"
  before=$(available)
  must_work set "$db" soft compression=none
  serve log-size=1M
  client beside "$tmp/end" 4 &
  pid=$!
  started_pids+=("$pid")
  sleep 1
  bounded recompress no_space recompress sqlblock recompress --no-progress \
    "$db" soft
  given_back "recompress that failed" "$before"
  sqlblock export --no-progress "$db" soft - | cmp - "$tmp/soft" ||
    fail "$name: what was stored anew has changed"
  must_work set "$db" soft compression=lz4
  bounded recompress must_work recompress --no-progress "$db" soft
  must_work compact --no-progress "$db"
  given_back recompress "$before"
  touch "$tmp/end"
  wait "$pid" || fail "$name: the other disk could not be written"
  rm "$tmp/end"
  client kill 9
  sqlblock export --no-progress "$db" soft - | cmp - "$tmp/soft" ||
    fail "$name: what was stored anew again has changed"
  stop_nbdkit
  must_work check "$db"
  rm "$tmp/soft"
}

# After a crash, where what is free is too little for the log's index, in blocks
# that are smaller than a page: a signal would tell of that.
index ()
{
  make_disks
  serve
  PYTHONDONTWRITEBYTECODE=1 python3 - "$tmp/s" <<'EOF'
import nbd, sys
h = nbd.NBD()
h.set_export_name("disk")
h.connect_unix(sys.argv[1])
h.pwrite(b"x" * 65536, 0)
h.flush()
EOF
  kill_nbdkit
  rm -f "$db-shm"
  fallocate -l $(($(available) - 16384)) "$room/filler"
  must_work check "$db"
  rm "$room/filler"
}

name="in a temporary directory"
head -c 200M /dev/urandom >"$tmp/raw"
must_work import --create --no-progress --compression=none "$tmp/source" new \
  "$tmp/raw"
must_work snapshot create "$tmp/source" new@s
sqlblock send "$tmp/source" new@s >"$tmp/stream"
rm "$tmp/source"*
python3 -c 'import os
for _ in range(300):
    os.write(1, b"".join(os.urandom(1024) + bytes(3072)
                          for _ in range(256)))' >"$tmp/soft"

mkdir "$mounts/tmpfs" "$mounts/ext4" "$mounts/small" "$mounts/xfs"
mount -t tmpfs -o size=200M none "$mounts/tmpfs" ||
  skip "no tmpfs can be mounted"
use tmpfs
fill
commands
taken
nothing_left
kills
copies
recompress
umount "$room"

if type -P mkfs.ext4 >/dev/null; then
  truncate -s 200M "$tmp/image"
  mkfs.ext4 -q -F "$tmp/image"
  if mount -o loop "$tmp/image" "$mounts/ext4"; then
    use ext4
    fill
    kills
    umount "$room"
  else
    echo "no loop device can be mounted: ext4 was not tried"
  fi
  rm -f "$tmp/image"
  truncate -s 100M "$tmp/image"
  mkfs.ext4 -q -F -b 1024 -m 0 "$tmp/image"
  if mount -o loop "$tmp/image" "$mounts/small"; then
    use small
    index
    umount "$room"
  fi
fi

# The smallest that there can be.  Whatever comes after a server looks from the
# beginning on for what has no blocks, and there is far less free space than the
# file has.
if type -P mkfs.xfs >/dev/null; then
  truncate -s 300M "$tmp/image"
  mkfs.xfs -q -f "$tmp/image"
  if mount -o loop "$tmp/image" "$mounts/xfs"; then
    use xfs
    fill .7
    must_work snapshot delete "$db" other@s
    must_work delete "$db" other
    must_work compact --no-progress "$db"
    must_work create "$db" other --size=1G --compression=none
    kills
    umount "$room"
  fi
fi
