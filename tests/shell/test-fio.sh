#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# fio writes at random over several connections and verifies the CRC-32C
# of each block that it wrote: at once, after more writes in between, and
# after a crash of the server.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit fio
fio --enghelp 2>/dev/null | grep -q '^[[:space:]]*nbd$' ||
  skip "fio has no nbd engine"

# run NAME ARGUMENT...: four jobs, each on its own part of the disk with
# its own connection.
run ()
{
  local name=$1
  shift
  timeout 50 fio --name="$name" --ioengine=nbd --uri="$(uri s)" \
    --numjobs=4 --size=8m --offset_increment=8m --iodepth=16 --thread \
    --randseed=4711 --randrepeat=1 --group_reporting \
    --verify=crc32c --verify_fatal=1 --verify_state_save=0 \
    "$@" >"$tmp/$name.log" 2>&1 || {
    cat "$tmp/$name.log" >&2
    fail "fio $name"
  }
}

cd "$tmp"
start_nbdkit s "$plugin" "$tmp/disk.sqlite" size=32M

run write-4k --rw=randwrite --bs=4k
kill_nbdkit
start_nbdkit s "$plugin" "$tmp/disk.sqlite"
run verify-4k --rw=randwrite --bs=4k --verify_only

run write-mixed --rw=randwrite --bssplit=512/20:1k/10:4k/40:12k/10:64k/20
run read-write --rw=randrw --rwmixread=40 --bs=4k --fsync=64
run read-write-large --rw=randrw --bsrange=2k-128k --verify_backlog=64
kill_nbdkit

# fio must be able to see a difference: change one block behind its back.
start_nbdkit s "$plugin" "$tmp/disk.sqlite"
run write-again --rw=randwrite --bs=4k
nbdsh_write='h.pwrite(b"?" * 100, 9 * 1024 * 1024 + 1000)'
python3 -c "import nbd; h = nbd.NBD(); h.connect_uri('$(uri s)'); $nbdsh_write"
if (run verify-again --rw=randwrite --bs=4k --verify_only) 2>/dev/null; then
  fail "fio did not notice a changed block"
fi
