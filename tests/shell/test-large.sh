#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Large requests over data: writes and reads of 32 and of 64 MiB, which is
# nbdkit's most, and trim, zero and block status of 2^32 - 1 bytes, the most
# that NBD has. (test-huge.sh has large disks with little in them.)
#
# SOAK=yes in the environment also makes a database of more than 4 GiB; it
# needs 11 GiB of space.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

cat >"$tmp/large.py" <<'EOF2'
import nbd, os, random, sys

uri, step, block = sys.argv[1], sys.argv[2], int(sys.argv[3])
MIB = 1 << 20
MOST = 2 ** 32 - 1
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(uri)
SIZE = h.get_size()

# Where each request is written: within blocks, and across 4 GiB.
PLACES = [(1000, 32 * MIB), (100 * MIB + 511, 64 * MIB),
          (2 ** 32 - 7 * MIB - 3, 64 * MIB), (SIZE - 32 * MIB, 32 * MIB)]

def data(offset, count):
    return random.Random(offset).randbytes(count)

def extents(offset, count):
    """The bytes of data in a range."""
    total, end = 0, offset + count
    while offset < end:
        part = []
        h.block_status(end - offset, offset,
                       lambda c, o, entries, e: part.extend(entries))
        assert 0 < sum(part[0::2]) <= end - offset, part
        total += sum(length for length, kind in zip(part[0::2], part[1::2])
                     if kind == 0)
        offset += sum(part[0::2])
    return total

def check(start=0, end=0):
    """All was stored, and then zeroed from start to before end."""
    for offset, count in PLACES:
        want = bytearray(data(offset, count))
        first, last = max(start, offset), min(end, offset + count)
        if first < last:
            want[first - offset:last - offset] = bytes(last - first)
        assert h.pread(count, offset) == want, offset

def up(n):
    return (n + block - 1) // block * block

if step == "write":
    for offset, count in PLACES:
        h.pwrite(data(offset, count), offset)
    h.pwrite(data(1, 64 * MIB), 200 * MIB - 1)
    assert h.pread(64 * MIB, 200 * MIB - 1) == data(1, 64 * MIB)
    check()
elif step == "check":
    assert h.pread(64 * MIB, 200 * MIB - 1) == data(1, 64 * MIB)
    check()
    stored = sum(up(offset + count) - offset // block * block
                 for offset, count in PLACES + [(200 * MIB - 1, 64 * MIB)])
    assert extents(0, MOST) + extents(MOST, SIZE - MOST) == stored
    # All of the disk from byte 110 MiB on, in one request, and edges.
    start = 110 * MIB + 5
    h.zero(MOST, start)
    check(start, start + MOST)
    assert h.pread(64 * MIB, 200 * MIB - 1) == bytes(64 * MIB)
    assert extents(start, MOST) <= 2 * block
    # Trimming leaves what is not a whole block.
    h.trim(MOST, 7)
    assert extents(0, MOST) == block, extents(0, MOST)
    assert h.pread(MIB, block) == bytes(MIB)
    assert h.pread(32 * MIB, SIZE - 32 * MIB) == data(SIZE - 32 * MIB,
                                                      32 * MIB)
    h.flush()
elif step == "fill":
    # Each MiB begins with its number; the rest does not compress.
    noise = os.urandom(64 * MIB)
    for i in range(0, 4300, 64):
        part = bytearray(noise)
        for j in range(64):
            part[j * MIB:j * MIB + 8] = (i + j).to_bytes(8, "big")
        h.pwrite(part, i * MIB)
elif step == "compare":
    first = h.pread(64 * MIB, 0)
    for i in range(0, 4300, 64):
        part = h.pread(64 * MIB, i * MIB)
        for j in range(64):
            at = j * MIB
            assert int.from_bytes(part[at:at + 8], "big") == i + j, i + j
            assert part[at + 8:at + MIB] == first[at + 8:at + MIB], i + j
    h.trim(MOST, 64 * MIB)
    assert extents(64 * MIB, MOST) <= block
    assert h.pread(64 * MIB, 0) == first
EOF2

# client STEP BLOCK
client ()
{
  timeout 1000 python3 "$tmp/large.py" "$(uri s)" "$@" || fail "$*"
}

for block in 4096 1048576; do
  db=$tmp/$block.sqlite
  start_nbdkit s "$plugin" "$db" size=4500M block-size=$block
  client write $block
  kill_nbdkit
  start_nbdkit s "$plugin" "$db"
  client check $block
  kill_nbdkit
  rm "$db"*
done

[ "${SOAK-}" = yes ] || exit 0
space=$(df --output=avail -B1M "$tmp" | tail -n 1)
if [ "$space" -lt 11264 ]; then
  echo "a database of 4 GiB was not tried: $tmp has $space MiB of space"
  exit 0
fi
start_nbdkit s "$plugin" "$tmp/4g.sqlite" size=4500M
client fill 4096
kill_nbdkit
start_nbdkit s "$plugin" "$tmp/4g.sqlite"
client compare 4096
echo "a database of $(stat -c %s "$tmp/4g.sqlite") bytes"
[ "$(stat -c %s "$tmp/4g.sqlite")" -gt $((1 << 32)) ] ||
  fail "the database is no larger than 4 GiB"
