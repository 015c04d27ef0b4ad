# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

"""A client that knows what it was told: was it all kept?

    journal.py write URI JOURNAL SEED    until the server fails, or SIGTERM
    journal.py check URI JOURNAL         what the server has now; the last
                                         line says what is gone

One write is in flight at a time, so the disk must be as after the first N
writes for some N, and no flushed one may be missing. The journal has a line
for each event, in their order:

    w NUMBER SECTOR    this write is about to be sent
    a NUMBER           it was acknowledged
    f NUMBER           all writes up to this one were flushed
    e ERROR            the server is gone, or has refused
    c NUMBER           a check has found the disk as after this write:
                       those after it never were
"""

import random
import signal
import sys

import nbd

SECTOR = 4096


def contents(number):
    """What the write of this number puts into its sector."""
    if number == 0:
        return bytes(SECTOR)
    rest = random.Random(number).randbytes(SECTOR - 8)
    return number.to_bytes(8, "little") + rest


class History:
    """What a journal tells."""

    def __init__(self, name):
        self.sectors = {}  # of each write that may be there
        self.last = self.acknowledged = self.flushed = 0
        with open(name, "a+", encoding="ascii") as journal:
            journal.seek(0)
            for line in journal:
                self.note(*line.split(maxsplit=2))

    def note(self, event, number, sector="0"):
        """One line of it."""
        if event == "w":
            self.last = int(number)
            self.sectors[self.last] = int(sector)
        elif event == "a":
            self.acknowledged = int(number)
        elif event == "f":
            self.flushed = int(number)
        elif event == "c":
            while self.last > int(number):
                del self.sectors[self.last]
                self.last -= 1
            self.acknowledged = self.last

    def disk(self, number):
        """Which write each sector shows after that one."""
        return {sector: write for write, sector in self.sectors.items()
                if write <= number}


def connect(uri):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    return handle


def write(uri, name, seed):
    """Write and flush until that fails, or SIGTERM; then nothing is open."""
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    draw = random.Random(seed)
    number = History(name).last
    with open(name, "a", buffering=1, encoding="ascii") as journal:
        try:
            handle = connect(uri)
            sectors = handle.get_size() // SECTOR
            while not stop:
                number += 1
                sector = draw.randrange(sectors)
                flags = nbd.CMD_FLAG_FUA if draw.random() < 0.02 else 0
                print("w", number, sector, file=journal)
                handle.pwrite(contents(number), sector * SECTOR, flags)
                print("a", number, file=journal)
                if flags == 0 and draw.random() < 0.05:
                    handle.flush()
                    flags = nbd.CMD_FLAG_FUA
                if flags:
                    print("f", number, file=journal)
        except nbd.Error as error:
            print("e", str(error).replace("\n", " "), file=journal)


def check(uri, name):
    """Is the disk as after some write that is not before the last flush?"""
    history = History(name)
    handle = connect(uri)
    found = {}
    for sector in range(handle.get_size() // SECTOR):
        data = handle.pread(SECTOR, sector * SECTOR)
        number = int.from_bytes(data[:8], "little")
        if data != contents(number):
            sys.exit(f"sector {sector}: no write has made this")
        if number:
            found[sector] = number
    last = max(found.values(), default=0)
    if last < history.flushed:
        sys.exit(f"{history.flushed} writes were flushed, {last} are there")
    expected = history.disk(last)
    for sector in found.keys() | expected.keys():
        if found.get(sector, 0) != expected.get(sector, 0):
            sys.exit(f"sector {sector} shows write {found.get(sector, 0)}, "
                     f"not {expected.get(sector, 0)}, after {last} writes")
    with open(name, "a", encoding="ascii") as journal:
        print("c", last, file=journal)
    print(f"{last} writes, {history.flushed} flushed; "
          f"only acknowledged, and gone: "
          f"{max(history.acknowledged - last, 0)}")


if sys.argv[1] == "write":
    write(*sys.argv[2:])
else:
    check(*sys.argv[2:])
