#!/bin/bash
# What a disk that has filled its file system can still do: most of the room
# holds data, what is there can be overwritten, to trim and to delete works at
# once and makes room, and a command that fails gives back what it took. See
# store/vfs_room.h and store/reserve.h.
#
# Mounting needs root; it is done in a mount namespace of this test.

. "${srcdir:-$(dirname "$0")}/functions.sh"
need nbdkit python3 unshare mount fallocate
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

# What is mounted in the directory $mounts ends with the namespace.
if [ -z "${mounts-}" ]; then
  unshare --mount true 2>/dev/null || skip "mounting needs root"
  export srcdir top_builddir mounts=$tmp
  unshare --mount --propagation private bash "$0"
  exit
fi
PATH=$top_builddir/tool:$PATH

client ()
{
  PYTHONDONTWRITEBYTECODE=1 timeout 300 python3 "$srcdir/room.py" "$room" \
    "$tmp/s" "$@" || {
    tail -n 5 "$tmp/s.log" >&2
    fail "$name: $1"
  }
}

serve ()
{
  start_nbdkit s "$plugin" "$db"
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
  sqlblock "$@" >"$tmp/out" 2>&1 || {
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

fill ()
{
  make_disks
  must_work snapshot create "$db" other@s
  serve
  client full .75
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

# An import that finds no space beside a server.
import ()
{
  local before after pid
  head -c 200M /dev/urandom >"$tmp/raw"
  make_disks
  serve
  client beside "$tmp/end" &
  pid=$!
  sleep 2
  before=$(available)
  for i in 1 2; do
    sqlblock import --no-progress --compression=none "$db" new "$tmp/raw" \
      >"$tmp/out" 2>&1 && fail "$name: 200 MiB fit into less"
    grep -q "the file system is full" "$tmp/out" ||
      fail "$name: import: $(cat "$tmp/out")"
    after=$(available)
    for ((tries = 0; tries < 50; tries++)); do
      after=$(available)
      [ "$after" -lt $((before - (12 << 20))) ] || break
      sleep .1
    done
    [ "$after" -ge $((before - (12 << 20))) ] ||
      fail "$name: import leaves $after bytes of $before"
  done
  touch "$tmp/end"
  wait "$pid" || fail "$name: the other disk noticed the import"
  rm "$tmp/end" "$tmp/raw"
  kill_nbdkit
  must_work check "$db"
}

mkdir "$mounts/tmpfs" "$mounts/ext4"
mount -t tmpfs -o size=200M none "$mounts/tmpfs" ||
  skip "no tmpfs can be mounted"
use tmpfs
fill
commands
kills
import
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
fi
