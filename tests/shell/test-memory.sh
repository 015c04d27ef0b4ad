#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The server's memory and its write-ahead log stay bounded while a sparse
# disk of 10 GiB is written at random.
#
# What counts is the anonymous memory: pages of files that are mapped
# belong to the page cache, which gives them back.  A part of it is
# nbdkit's own: each thread of a connection keeps a buffer as large as the
# largest request that it has seen, here 4 x 16 x 1 MiB.
#
# SOAK=yes in the environment writes ten times as much.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"

# Both are bounds that the manual promises.
most_memory=$((128 << 10)) # KiB
most_log=$((384 << 20)) # bytes of the -wal file

need nbdkit fio
fio --enghelp 2>/dev/null | grep -qw nbd || skip "fio has no nbd engine"

times=1
if [ "${SOAK-}" = yes ]; then
  times=10
fi

start_nbdkit socket "$plugin" db="$tmp/disk.sqlite" size=10G

# Look at the server's size now, and keep the maxima.
memory=0 log=0
look ()
{
  local name value rest size=0
  while read -r name value rest; do
    if [ "$name" = RssAnon: ] && [ "$value" -gt "$memory" ]; then
      memory=$value
    fi
  done <"/proc/$nbdkit_pid/status"
  if [ -e "$tmp/disk.sqlite-wal" ]; then
    size=$(stat -c %s "$tmp/disk.sqlite-wal")
  fi
  if [ "$size" -gt "$log" ]; then
    log=$size
  fi
}

# load NAME MIB FIO-OPTION...: put a load on the server from four
# connections, each of MIB MiB, and look at it all the time.
load ()
{
  local name=$1 amount=$2 fio_pid
  shift 2
  timeout 1800 fio --name="$name" --ioengine=nbd --uri="$(uri socket)" \
    --size=10G --io_size="$((amount * times))M" --norandommap \
    --numjobs=4 --thread --group_reporting --randrepeat=0 "$@" \
    >"$tmp/fio.out" 2>&1 &
  fio_pid=$!
  started_pids+=("$fio_pid")
  while kill -0 "$fio_pid" 2>/dev/null; do
    look
    sleep 0.1
  done
  wait "$fio_pid" || {
    cat "$tmp/fio.out" >&2
    fail "fio: $name"
  }
  look
  echo "$name: $((memory >> 10)) MiB of memory, $((log >> 20)) MiB of log"
  [ "$memory" -le "$most_memory" ] ||
    fail "$memory KiB of memory, at most $most_memory are allowed"
  [ "$log" -le "$most_log" ] ||
    fail "$log bytes of write-ahead log, at most $most_log are allowed"
}

load small-writes 100 --rw=randwrite --bs=4k --iodepth=32
load large-writes 250 --rw=randwrite --bs=1M --iodepth=32
load odd-writes 50 --rw=randwrite --bsrange=512-256k --bs_unaligned \
  --iodepth=32
load reads-and-writes 100 --rw=randrw --bs=4k --iodepth=32
