#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

"""Requests of one client, each of which can be told from the disk later.

  drill.py write SOCKET DISK FLUSHED     write and flush until killed, and note
                                         the number of each in the file FLUSHED
  drill.py newest IMAGE                  the number of the newest that it has
  drill.py compare IMAGE                 is it the disk as that one left it?
"""

import os, random, sys

SIZE, UNIT = 8 << 20, 4096

def request(number):
    """Its offset and its data; the data begins with the number."""
    chance = random.Random(number)
    units = chance.choice((1, 1, 2, 16, 64))
    head = number.to_bytes(8, "big")
    data = b"".join(head + chance.randbytes(UNIT - 8) for _ in range(units))
    return chance.randrange(SIZE // UNIT - units + 1) * UNIT, data

def write(socket, disk, flushed):
    import nbd
    client = nbd.NBD()
    client.set_export_name(disk)
    client.connect_unix(socket)
    number = 0
    while True:
        number += 1
        offset, data = request(number)
        client.pwrite(data, offset)
        client.flush()
        with open(flushed + ".tmp", "w") as file:
            file.write("%d\n" % number)
        os.rename(flushed + ".tmp", flushed)

def newest(image):
    return max(int.from_bytes(image[at:at + 8], "big")
               for at in range(0, SIZE, UNIT))

def compare(image):
    disk = bytearray(SIZE)
    for number in range(1, newest(image) + 1):
        offset, data = request(number)
        disk[offset:offset + len(data)] = data
    if disk != image:
        sys.exit("the disk is not as request %d left it" % newest(image))

if sys.argv[1] == "write":
    write(*sys.argv[2:])
else:
    with open(sys.argv[2], "rb") as file:
        content = file.read()
    if sys.argv[1] == "newest":
        print(newest(content))
    else:
        compare(content)
