#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The largest disk that NBD can have, and what an empty disk costs: trim,
# zero and block status take as long as there is data, not as long as
# there is disk.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

start_nbdkit large "$plugin" "$tmp/large.sqlite" size=9223372036854775807
cat >"$tmp/large.py" <<'EOF2'
import nbd, sys
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(sys.argv[1])
SIZE = 2 ** 63 - 1
MOST = 0xffffffff
assert h.get_size() == SIZE, h.get_size()

def look(count, offset, expected):
    """The merged (length, has data) of the whole range."""
    answer, end = [], offset + count
    while offset < end:
        part = []
        h.block_status(end - offset, offset,
                       lambda c, o, entries, e: part.extend(entries))
        for length, kind in zip(part[0::2], part[1::2]):
            if answer and answer[-1][1] == (kind == 0):
                length += answer.pop()[0]
                answer.append((length, kind == 0))
            else:
                answer.append((length, kind == 0))
        offset += sum(part[0::2])
    assert offset == end, (offset, end)
    assert answer == expected, (answer, expected)

END = SIZE - MOST
if sys.argv[2] == "again":
    assert h.pread(10, SIZE - 10) == b"\0\0last byt"
    assert h.pread(5, 0) == b"first"
    sys.exit(0)

assert h.pread(4096, SIZE - 4096) == bytes(4096)
look(MOST, END, [(MOST, False)])

h.pwrite(b"the last byte", SIZE - 13)
h.pwrite(b"first", 0)
assert h.pread(13, SIZE - 13) == b"the last byte"
assert h.pread(5, 0) == b"first"
assert h.pread(5, 2 ** 62) == bytes(5)
LAST = SIZE % 4096
look(MOST, END, [(MOST - LAST, False), (LAST, True)])

h.zero(MOST - 13, END, nbd.CMD_FLAG_FUA)
assert h.pread(14, SIZE - 14) == b"\0the last byte"
h.trim(MOST - 13, END)
assert h.pread(14, SIZE - 14) == b"\0the last byte"
h.trim(MOST, END)
assert h.pread(13, SIZE - 13) == bytes(13)
look(MOST, END, [(MOST, False)])

h.pwrite(b"the last byte", SIZE - 13)
h.zero(MOST - 11, END + 6)
h.pwrite(b"last byt", SIZE - 8)
h.zero(MOST - 8, END)
h.cache(MOST, END)
h.flush()
assert h.pread(10, SIZE - 10) == b"\0\0last byt"
assert h.pread(5, 0) == b"first"
EOF2
timeout 20 python3 "$tmp/large.py" "$(uri large)" first ||
  fail "a disk of 2^63 - 1 bytes"
kill_nbdkit
start_nbdkit large "$plugin" "$tmp/large.sqlite"
timeout 20 python3 "$tmp/large.py" "$(uri large)" again ||
  fail "a disk of 2^63 - 1 bytes after a restart"

# 1 TiB has 268 million blocks: visiting each would take minutes.
start_nbdkit empty "$plugin" "$tmp/empty.sqlite" size=1T
timeout 20 python3 - "$(uri empty)" <<'EOF2' || fail "an empty disk of 1 TiB"
import nbd, sys
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(sys.argv[1])
STEP = 2 ** 32 - 2 ** 20
h.pwrite(b"x", 0)
h.pwrite(b"y", 2 ** 40 - 1)
for request in (h.trim, h.zero):
    for offset in range(4096, 2 ** 40 - 4096, STEP):
        request(min(STEP, 2 ** 40 - 4096 - offset), offset)
extents = []
for offset in range(0, 2 ** 40, STEP):
    h.block_status(min(STEP, 2 ** 40 - offset), offset,
                   lambda c, o, entries, e: extents.extend(entries))
assert sum(extents[0::2]) == 2 ** 40
data = sum(length for length, kind in zip(extents[0::2], extents[1::2])
           if kind == 0)
assert data == 2 * 4096, data
assert h.pread(1, 0) == b"x" and h.pread(1, 2 ** 40 - 1) == b"y"
EOF2
