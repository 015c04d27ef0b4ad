#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# QEMU's own NBD client: what qemu-img says about a disk, conversions from
# and to qcow2, and qemu-io's requests: asynchronous writes, discard,
# write-zeroes with and without unmap, flush, and reads of patterns.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit qemu-img qemu-io python3

start_nbdkit s "$plugin" "$tmp/disk.sqlite" size=8M
disk=$(uri s)

# io COMMAND...: one qemu-io session; no pattern may differ.
io ()
{
  local command arguments=()
  for command; do
    arguments+=(-c "$command")
  done
  timeout 30 qemu-io -f raw -d unmap -t none "${arguments[@]}" "$disk" \
    >"$tmp/qemu-io.log" 2>&1 || {
    cat "$tmp/qemu-io.log" >&2
    fail "qemu-io $*"
  }
  if grep -iE 'fail|error|invalid' "$tmp/qemu-io.log" >&2; then
    fail "qemu-io $*"
  fi
}

# map: the data ranges of the disk, "start+length" in KiB.
map ()
{
  qemu-img map --output=json -f raw "$disk" | python3 -c '
import json, sys
print(*("%d+%d" % (extent["start"] / 1024, extent["length"] / 1024)
        for extent in json.load(sys.stdin)
        if extent["data"] and not extent["zero"]))'
}

expect_map ()
{
  local got
  got=$(map)
  [ "$got" = "$1" ] || fail "the map is «$got», «$1» expected"
}

qemu-img info --output=json "$disk" | python3 -c '
import json, sys
sys.exit(json.load(sys.stdin)["virtual-size"] != 8 * 1024 * 1024)' ||
  fail "qemu-img info shows another size"
expect_map ""

# A failed pattern must fail the test, so see that one does.
io "write -P 0x11 0 64k"
if (io "read -P 0x12 0 64k") 2>/dev/null; then
  fail "qemu-io did not notice other bytes"
fi

# Requests that overlap must not be in flight together.
io "aio_write -P 0xa1 64k 64k" "aio_write -P 0xa2 128k 64k" \
  "aio_write -P 0xa3 1000k 4k" "aio_flush" "aio_write -P 0xa4 1001k 512" \
  "aio_flush" "flush" \
  "read -P 0x11 0 64k" "read -P 0xa1 64k 64k" "read -P 0xa2 128k 64k" \
  "read -P 0xa3 1000k 1k" "read -P 0xa4 1001k 512" \
  "read -P 0xa3 1025536 2560" "read -P 0 192k 808k" \
  "read -P 0 1004k 7188k"
expect_map "0+192 1000+4"

# Sub-block and FUA writes, vectors, the last bytes of the disk.
io "write -f -P 0xb1 2049k 512" "writev -P 0xb2 3M 1k 512 2560" \
  "write -P 0xb3 8388096 512" \
  "aio_read -P 0xb1 2049k 512" "aio_flush" \
  "read -P 0 2048k 1k" "read -P 0 2098688 1536" \
  "readv -P 0xb2 3M 512 512 3k" "read -P 0xb3 8388096 512"
expect_map "0+192 1000+4 2048+4 3072+4 8188+4"

# discard makes whole blocks holes, write -zu as well; write -z zeroes.
io "discard 8k 16k" "read -P 0 8k 16k" "read -P 0x11 0 8k" \
  "read -P 0x11 24k 40k" \
  "write -z 70k 4k" "read -P 0 70k 4k" "read -P 0xa1 64k 6k" \
  "read -P 0xa1 74k 54k" \
  "write -zu 128k 64k" "read -P 0 128k 64k" "flush"
expect_map "0+8 24+104 1000+4 2048+4 3072+4 8188+4"

# Out to qcow2 and to raw, back in, all the same.
qemu-img convert -f raw -O qcow2 "$disk" "$tmp/disk.qcow2"
qemu-img compare -q -f qcow2 -F raw "$tmp/disk.qcow2" "$disk" ||
  fail "the qcow2 file differs from the disk"
io "write -P 0xc1 0 8M"
if qemu-img compare -q -f qcow2 -F raw "$tmp/disk.qcow2" "$disk"; then
  fail "qemu-img compare did not notice other bytes"
fi
kill_nbdkit
start_nbdkit s "$plugin" "$tmp/disk.sqlite"
io "read -P 0xc1 0 8M"
qemu-img convert -n -f qcow2 -O raw "$tmp/disk.qcow2" "$disk"
qemu-img compare -q -f qcow2 -F raw "$tmp/disk.qcow2" "$disk" ||
  fail "the disk differs from the qcow2 file"
expect_map "0+8 24+104 1000+4 2048+4 3072+4 8188+4"
