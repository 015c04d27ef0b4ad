# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Writes in an order that shows whether a copy is of one instant.
#
#   ordered.py write URI...    until it is killed
#   ordered.py check FILE...   raw copies, in the same order
#
# Each round writes its number into every block, disk after disk, and waits
# for each write. A copy of one instant thus has the number of a round, up to
# some block, and from there on that of the round before.

import sys

BLOCK = 4096
BLOCKS = 64
STEP = 257  # blocks between those written

def places(disks):
    return [(disk, i * STEP * BLOCK) for disk in range(disks)
            for i in range(BLOCKS)]

def write(uris):
    import nbd
    handles = []
    for uri in uris:
        handle = nbd.NBD()
        handle.connect_uri(uri)
        handles.append(handle)
    number = 0
    while True:
        number += 1
        data = number.to_bytes(8, "little") * (BLOCK // 8)
        for disk, offset in places(len(handles)):
            handles[disk].pwrite(data, offset)
        if number == 1:
            print("writing", flush=True)

def check(paths):
    files = [open(path, "rb") for path in paths]
    numbers = []
    for disk, offset in places(len(files)):
        files[disk].seek(offset)
        data = files[disk].read(BLOCK)
        if data[:8] * (BLOCK // 8) != data:
            sys.exit("a write is there in part, at %d" % offset)
        numbers.append(int.from_bytes(data[:8], "little"))
    drops = [a - b for a, b in zip(numbers, numbers[1:]) if a != b]
    if drops not in ([], [1]):
        sys.exit("not of one instant: %s" % numbers)
    print("rounds %d to %d" % (numbers[-1], numbers[0]))

{"write": write, "check": check}[sys.argv[1]](sys.argv[2:])
