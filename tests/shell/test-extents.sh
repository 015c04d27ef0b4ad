#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Block status tells exactly which blocks are stored: extents follow each
# other without a gap, begin and end with the request, are one when one is
# asked for, and all-zero blocks are holes however they became zero.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

start_nbdkit s "$plugin" "$tmp/disk.sqlite" size=$((100 * 4096 + 100))

python3 - "$(uri s)" <<'EOF2'
import nbd, sys
BLOCK = 4096
HOLE = nbd.STATE_HOLE | nbd.STATE_ZERO
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(sys.argv[1])
SIZE = h.get_size()
stored = set()                  # numbers of the blocks with data

def status(count, offset, flags=0):
    answer = []
    def extent(context, start, entries, error):
        assert start == offset and context == nbd.CONTEXT_BASE_ALLOCATION
        answer.extend(zip(entries[0::2], entries[1::2]))
    h.block_status(count, offset, extent, flags)
    return answer

def expected(count, offset):
    """The same from the set of stored blocks, neighbours merged."""
    answer = []
    end = offset + count
    while offset < end:
        kind = 0 if offset // BLOCK in stored else HOLE
        length = min((offset // BLOCK + 1) * BLOCK, end) - offset
        if answer and answer[-1][1] == kind:
            answer[-1] = (answer[-1][0] + length, kind)
        else:
            answer.append((length, kind))
        offset += length
    return answer

def all_extents(count, offset):
    """A server may stop early: ask on, and merge what it says."""
    answer = []
    while count > 0:
        part = status(count, offset)
        assert part and all(length > 0 for length, kind in part), part
        total = sum(length for length, kind in part)
        assert total <= count, "extents go past the request: %r" % part
        for length, kind in part:
            if answer and answer[-1][1] == kind:
                answer[-1] = (answer[-1][0] + length, kind)
            else:
                answer.append((length, kind))
        offset, count = offset + total, count - total
    return answer

def look(what):
    for count, offset in ((SIZE, 0), (SIZE - 1, 1), (1, 0), (1, SIZE - 1),
                          (BLOCK, 5 * BLOCK), (3 * BLOCK, 4 * BLOCK - 1),
                          (10 * BLOCK + 5, 7), (SIZE - 9 * BLOCK, 9 * BLOCK)):
        got, right = all_extents(count, offset), expected(count, offset)
        if got != right:
            sys.exit("%s: status of %d bytes at %d is\n%r, expected\n%r"
                     % (what, count, offset, got, right))
        one = status(count, offset, nbd.CMD_FLAG_REQ_ONE)
        if len(one) != 1 or one[0][1] != right[0][1] \
           or not 0 < one[0][0] <= right[0][0]:
            sys.exit("%s: one extent of %d bytes at %d is %r, expected %r"
                     % (what, count, offset, one, right[0]))

look("new disk")

for first, count in ((0, 1), (5, 3), (9, 1), (20, 60), (100, 1)):
    length = min(count * BLOCK, SIZE - first * BLOCK)
    h.pwrite(b"d" * length, first * BLOCK)
    stored.update(range(first, first + count))
look("after writes")

h.pwrite(bytes(4 * BLOCK), 22 * BLOCK)
stored.difference_update(range(22, 26))
look("after a write of zeroes")

h.zero(2 * BLOCK, 30 * BLOCK)
stored.difference_update(range(30, 32))
look("after zero")

h.trim(4 * BLOCK + 20, 40 * BLOCK - 10)
stored.difference_update(range(40, 44))
look("after trim")

h.pwrite(b"x" * 10, 50 * BLOCK)
h.pwrite(bytes(BLOCK - 10), 50 * BLOCK + 10)
look("a block with few bytes")
h.pwrite(bytes(10), 50 * BLOCK)
stored.discard(50)
look("a block zeroed byte by byte")

h.zero(60, 100 * BLOCK)
look("last block zeroed in part")
h.zero(40, 100 * BLOCK + 60)
stored.discard(100)
look("last block zeroed")

h.pwrite(b"1", 99 * BLOCK + 17)
stored.add(99)
look("one byte")

h.trim(SIZE, 0)
stored.clear()
look("all trimmed")
EOF2
