#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Any offset and any length: random reads, writes, trims and zeroes, most
# of them not on block boundaries, give what the same requests do to an
# array in memory; on disks with different block sizes whose size is no
# multiple of the block.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

seed=${SQLBLOCK_SEED:-$RANDOM}
echo "seed: $seed (set SQLBLOCK_SEED to repeat)"

cat >"$tmp/model.py" <<'EOF2'
import nbd, random, sys
uri, shadow_file, seed, block, operations = sys.argv[1:]
block, operations = int(block), int(operations)
random.seed(int(seed))

h = nbd.NBD()
h.connect_uri(uri)
size = h.get_size()
try:
    shadow = bytearray(open(shadow_file, "rb").read())
except FileNotFoundError:
    shadow = bytearray(size)
if h.pread(size, 0) != shadow:
    sys.exit("the disk has other bytes than when the server was killed")

def some_range():
    """Mostly small ranges near block boundaries, some large ones."""
    edge = random.randrange(0, size // block + 2) * block
    start = random.choice((edge, edge + random.randint(-9, 9),
                           random.randrange(size)))
    length = random.choice((1, random.randint(1, 2 * block),
                            block * random.randint(1, 9),
                            random.randint(1, size // 2)))
    start = min(max(start, 0), size - 1)
    return start, min(start + length, size)

for number in range(operations):
    start, end = some_range()
    count = end - start
    what = random.choice("rrwwwwtzz0")
    fua = random.choice((0, nbd.CMD_FLAG_FUA))
    if what == "w":
        shadow[start:end] = random.randbytes(count)
        h.pwrite(shadow[start:end], start, fua)
    elif what == "0":
        shadow[start:end] = bytes(count)
        h.pwrite(shadow[start:end], start, fua)
    elif what == "z":
        shadow[start:end] = bytes(count)
        h.zero(count, start, fua | random.choice((0, nbd.CMD_FLAG_NO_HOLE)))
    elif what == "t":
        first = -(-start // block) * block
        last = end if end == size else end // block * block
        if first < last:
            shadow[first:last] = bytes(last - first)
        h.trim(count, start, fua)
    # A read of the same place, with a little of what is around it.
    low, high = max(start - 10, 0), min(end + 10, size)
    if h.pread(high - low, low) != shadow[low:high]:
        sys.exit("difference after operation %d: %s at %d, %d bytes"
                 % (number, what, start, count))

if h.pread(size, 0) != shadow:
    sys.exit("difference at the end")
open(shadow_file, "wb").write(shadow)
EOF2

# check_disk BLOCK SIZE: twice, with a crash of the server in between.
check_disk ()
{
  local block=$1 size=$2 round
  for round in 1 2; do
    start_nbdkit s "$plugin" "$tmp/$block.sqlite" \
      block-size="$block" size="$size"
    timeout 300 python3 "$tmp/model.py" "$(uri s)" "$tmp/$block.shadow" \
      $((seed + round)) "$block" 150 || fail "block-size=$block"
    kill_nbdkit
  done
}

check_disk 512 100001
check_disk 4096 1000001
check_disk 65536 2000001
check_disk 1048576 4200001
