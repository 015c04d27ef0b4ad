# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

"""A disk fills its file system; what test-room.sh tries then."""

import errno, nbd, os, random, subprocess, sys, time

mounted, socket, step = sys.argv[1:4]
db = mounted + "/disks"
CHUNK = 65536


def free():
    status = os.statvfs(mounted)
    return status.f_bavail * status.f_frsize


def connect(name="disk"):
    h = nbd.NBD()
    h.set_export_name(name)
    h.connect_unix(socket)
    return h


def attempt(call, *args):
    """Does it work?  Nothing but a lack of space may keep it from that."""
    try:
        call(*args)
        return True
    except nbd.Error as error:
        assert error.errnum == errno.ENOSPC, error
        return False


def must(what, call, *args):
    if not attempt(call, *args):
        sys.exit("%s: there is no space for it" % what)


def fill(h, least):
    """Until nothing more fits; at least LEAST of the room must be data."""
    status = os.statvfs(mounted)
    room = status.f_blocks * status.f_frsize
    count = 0
    while attempt(h.pwrite, os.urandom(CHUNK), count * CHUNK):
        count += 1
    part = count * CHUNK / room
    print("  %d MiB of %d are data: %.1f %%"
          % (count * CHUNK >> 20, room >> 20, 100 * part))
    if part < least:
        sys.exit("too little of the room is data")
    return count


def full(h, other, count):
    """What must work there."""
    for k in range(0, 40, 5):
        must("overwriting", h.pwrite, os.urandom(CHUNK), k * CHUNK)
    must("overwriting another disk", other.pwrite, os.urandom(1 << 20), 0)
    other.pread(1 << 20, 1 << 20)
    must("a flush", h.flush)
    must("a trim", h.trim, CHUNK, 10 * CHUNK)
    must("a write after it", h.pwrite, os.urandom(CHUNK // 2), count * CHUNK)
    # Whoever trims more than the reserve can log does it in steps.
    while attempt(h.pwrite, os.urandom(CHUNK), count * CHUNK):
        count += 1
    must("a large trim", h.trim, 40 << 20, 20 << 20)
    for k in range(200):
        must("a write after it", h.pwrite, os.urandom(CHUNK),
             (count + k) * CHUNK)
    must("a flush", h.flush)


def content(other):
    return other.pread(8 << 20, 0)


if step == "fill":
    fill(connect(), float(sys.argv[4]))
elif step == "full":
    h, other = connect(), connect("other")
    for k in range(8):
        other.pwrite(os.urandom(1 << 20), k << 20)
    full(h, other, fill(h, float(sys.argv[4])))
elif step == "kill":
    # Killed at any moment of filling, it can always be opened and used.
    other = connect("other")
    count = int(sys.argv[4])
    h = connect()
    must("overwriting", h.pwrite, os.urandom(CHUNK), count % 64 * CHUNK)
    must("a trim", h.trim, CHUNK * 4, count % 60 * CHUNK)
    must("overwriting another disk", other.pwrite, os.urandom(CHUNK), 0)
    must("a flush", h.flush)
elif step == "taken":
    h = connect()
    must("a trim", h.trim, 4 << 20, 0)
    must("a flush", h.flush)
    os.remove(mounted + "/filler")
    must("a write", h.pwrite, os.urandom(1 << 20), 0)
    must("a flush", h.flush)
elif step == "cut_log":
    # What is behind the frames of the log is room for more.
    with open(db + "-wal", "r+b") as log:
        header = log.read(32)
        frame = 24 + int.from_bytes(header[8:12], "big")
        count = 0
        while log.read(frame)[8:16] == header[16:24]:
            count += 1
        log.truncate(32 + count * frame)
elif step == "beside":
    # Somebody goes on writing, what was written before if its number of chunks
    # is given; ended by a file.
    other, worst = connect("other"), 0
    chunks = int(sys.argv[5]) if len(sys.argv) > 5 else 100
    while not os.path.exists(sys.argv[4]):
        began = time.time()
        must("a disk beside", other.pwrite, os.urandom(CHUNK),
             random.randrange(chunks) * CHUNK)
        worst = max(worst, time.time() - began)
        time.sleep(.01)
    print("  the slowest write beside it took %.2f s" % worst)
