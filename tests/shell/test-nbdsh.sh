#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What one disk promises to a client, request by request: its size and
# abilities, trim, zero and their flags, data that is still there after a
# crash of the server, and an export that is read-only with -r.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3 sha256sum
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

disk=$tmp/disk.sqlite

# Not a multiple of the block, so that the last block is a short one.
size=$((4 * 1024 * 1024 + 1000))

# client: run the Python script on standard input with a connected handle
# h to the server s and some names that all of them use.
client ()
{
  {
    cat <<'END'
import errno, nbd, sys
BLOCK, SIZE = 4096, int(sys.argv[2])
h = nbd.NBD()
h.set_strict_mode(0)
h.connect_uri(sys.argv[1])

def check(what, got, expected):
    if got != expected:
        sys.exit("%s: %r, expected %r" % (what, got, expected))

def refused(what, number, request):
    try:
        request()
    except nbd.Error as error:
        check("errno of " + what, error.errnum, number)
    else:
        sys.exit(what + " was to fail")
END
    cat
  } | python3 - "$(uri s)" "$size"
}

start_nbdkit s "$plugin" "$disk" size=$size

client <<'EOF2'
check("size", h.get_size(), SIZE)
for can in ("flush", "fua", "trim", "zero", "fast_zero", "multi_conn",
            "cache", "df"):
    check("can_" + can, getattr(h, "can_" + can)(), True)
check("is_read_only", h.is_read_only(), False)
check("is_rotational", h.is_rotational(), False)
check("minimum block", h.get_block_size(nbd.SIZE_MINIMUM), 1)
check("preferred block", h.get_block_size(nbd.SIZE_PREFERRED), BLOCK)
check("maximum block", h.get_block_size(nbd.SIZE_MAXIMUM), 64 << 20)
check("a new disk", h.pread(SIZE, 0), bytes(SIZE))
EOF2

# Trim: blocks that are whole become zeroes, the edges keep their bytes.
# Zero: every byte becomes zero, with each of its flags.
client <<'EOF2'
N = 8 * BLOCK
DATA = bytes(i * 7 % 255 + 1 for i in range(N))

def fill(at=0):
    h.pwrite(DATA, at)
    check("written", h.pread(N, at), DATA)

for flags in (0, nbd.CMD_FLAG_FUA):
    for start, end in ((0, N), (1, N), (0, N - 1), (BLOCK - 1, N - 5),
                       (BLOCK, 2 * BLOCK), (100, 200),
                       (BLOCK - 1, BLOCK + 1), (BLOCK + 1, 3 * BLOCK - 1)):
        fill()
        h.trim(end - start, start, flags)
        first, last = -(-start // BLOCK) * BLOCK, end // BLOCK * BLOCK
        expected = bytearray(DATA)
        if first < last:
            expected[first:last] = bytes(last - first)
        check("trim %d to %d" % (start, end), h.pread(N, 0), expected)

FLAGS = (0, nbd.CMD_FLAG_FUA, nbd.CMD_FLAG_NO_HOLE,
         nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FAST_ZERO)
for flags in FLAGS:
    for start, end in ((0, N), (1, N - 1), (BLOCK, 2 * BLOCK), (5, 6),
                       (BLOCK - 1, BLOCK + 1), (BLOCK + 9, 7 * BLOCK - 9)):
        fill()
        expected = bytearray(DATA)
        expected[start:end] = bytes(end - start)
        try:
            h.zero(end - start, start, flags)
        except nbd.Error as error:
            # Only a fast zero may be refused, and then changes nothing.
            if not flags & nbd.CMD_FLAG_FAST_ZERO:
                raise
            check("fast zero", error.errnum, errno.ENOTSUP)
            expected = DATA
        check("zero %d to %d, flags %d" % (start, end, flags),
              h.pread(N, 0), expected)

# The short block at the end of the disk is a whole block.
SHORT = SIZE % BLOCK
h.pwrite(b"s" * SHORT, SIZE - SHORT)
h.trim(SHORT, SIZE - SHORT)
check("last block trimmed", h.pread(SHORT, SIZE - SHORT), bytes(SHORT))
h.pwrite(b"s" * SHORT, SIZE - SHORT)
h.trim(SHORT - 1, SIZE - SHORT)
check("last block trimmed in part", h.pread(SHORT, SIZE - SHORT),
      b"s" * SHORT)
h.zero(SHORT - 1, SIZE - SHORT)
check("last block zeroed in part", h.pread(SHORT, SIZE - SHORT),
      bytes(SHORT - 1) + b"s")
h.cache(SIZE, 0)
h.flush()

refused("read past the end", errno.EINVAL, lambda: h.pread(2, SIZE - 1))
refused("write past the end", errno.ENOSPC, lambda: h.pwrite(b"xx", SIZE - 1))
h.pread(1, SIZE - 1)
EOF2

# The server is killed: all that was acknowledged is there, flushed or not.
client <<'EOF2'
h.zero(SIZE, 0)
h.pwrite(b"A" * 10000, 3)
h.pwrite(b"B" * 10000, 2 * BLOCK + 1, nbd.CMD_FLAG_FUA)
h.trim(BLOCK, BLOCK)
h.zero(10, 0)
h.pwrite(b"end", SIZE - 3)
EOF2
kill_nbdkit

cat >"$tmp/look" <<'EOF2'
expected = bytearray(SIZE)
expected[3:10003] = b"A" * 10000
expected[2 * BLOCK + 1:2 * BLOCK + 10001] = b"B" * 10000
expected[BLOCK:2 * BLOCK] = bytes(BLOCK)
expected[0:10] = bytes(10)
expected[SIZE - 3:] = b"end"
if h.pread(SIZE, 0) != expected:
    sys.exit("the disk has other bytes than before")
EOF2
start_nbdkit s "$plugin" "$disk"
client <"$tmp/look"
stop_nbdkit

# One more server, since it makes a complete checkpoint when it starts:
# then all is in the one file, and -r must leave it as it is.
start_nbdkit s "$plugin" "$disk"
stop_nbdkit
before=$(sha256sum "$disk")
start_nbdkit s -r "$plugin" "$disk"
client <"$tmp/look"
client <<'EOF2'
check("is_read_only", h.is_read_only(), True)
refused("write", errno.EPERM, lambda: h.pwrite(b"x", 0))
refused("trim", errno.EPERM, lambda: h.trim(BLOCK, 0))
refused("zero", errno.EPERM, lambda: h.zero(BLOCK, 0))
check("size", h.get_size(), SIZE)
EOF2
client <"$tmp/look"
stop_nbdkit
[ "$before" = "$(sha256sum "$disk")" ] || fail "-r changed the file"
[ ! -s "$disk-wal" ] || fail "-r left something in $disk-wal"

# Clients are told of the largest request that works, whatever the block size
# is: a multiple of the preferred one (NBD's "Block size constraints").
for block in 512 4K 64K 1M; do
  start_nbdkit "most-$block" "$plugin" "$tmp/most-$block.sqlite" size=65M \
    block-size=$block
  python3 - "$(uri "most-$block")" <<'EOF2'
import nbd, os, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
least, preferred, most = (h.get_block_size(which) for which in (
    nbd.SIZE_MINIMUM, nbd.SIZE_PREFERRED, nbd.SIZE_MAXIMUM))
if most % preferred or most % least or preferred < 512:
    sys.exit("block sizes %d, %d, %d" % (least, preferred, most))
data = os.urandom(most)
h.pwrite(data, 512)
if h.pread(most, 512) != data:
    sys.exit("a request of %d bytes" % most)
EOF2
  stop_nbdkit
done
