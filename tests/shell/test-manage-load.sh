#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The command sqlblock beside a server under load. The load is model-check,
# which knows at each moment what its disk must be, and a writer of numbered
# blocks that go to two disks in turn:
#
#   number   1  2  3  4  5  6 ...      each is written when the one before
#   disk     a  b  a  b  a  b          is acknowledged; flushes in between
#
# So a snapshot of both disks must show the numbers up to some number and no
# later one, and all that were flushed before it was asked for. Meanwhile
# other disks are cloned, flattened, rolled back, renamed, resized, compared
# and deleted. No request may fail, and no command; but for those to a disk
# that is rolled back by force: they must fail, and show nothing else.
#
# SOAK=yes in the environment makes it 40 times as long.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

model_check=$top_builddir/tests/model-check
[ -x "$model_check" ] || skip "model-check needs libnbd to be built"
PATH=$top_builddir/tool:$PATH

rounds=30
[ "${SOAK-}" = yes ] && rounds=1200

cat >"$tmp/manage.py" <<'EOF2'
import errno, nbd, os, random, struct, subprocess, sys, threading, time

directory, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
db = directory + "/disk.sqlite"
BLOCK = 4096
SLOTS = 64                      # numbered blocks of each disk
SIZE = 512 * BLOCK              # of the other disks
random.seed(seed)
times = {}

def sqlblock(*args):
    """Run a command, which must succeed and not complain."""
    for _ in range(1000):
        start = time.monotonic()
        done = subprocess.run(["sqlblock", *args[0].split(), db, *args[1:]],
                              stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=120, text=True)
        times.setdefault(args[0], []).append(time.monotonic() - start)
        # nbdkit closes a disk a little after its client has gone.
        if done.returncode != 5:
            break
        time.sleep(0.01)
    if done.returncode != 0 or "warning" in done.stderr:
        sys.exit("sqlblock %s: %d %s" % (args, done.returncode, done.stderr))
    return done.stdout

def connect(export):
    h = nbd.NBD()
    h.set_export_name(export)
    h.connect_unix(directory + "/socket")
    return h

def read(export):
    """All of an export, and its size."""
    h = connect(export)
    size = h.get_size()
    data = h.pread(size, 0)
    h.shutdown()
    return bytes(data)

# --- Numbered blocks --------------------------------------------------------

class Writer(threading.Thread):
    """Writes numbers, each in its slot, over those written before."""
    def __init__(self):
        super().__init__(daemon=True)
        self.issued = self.flushed = 0
        self.failure = None
        self.ending = False
        self.disks = [connect("a"), connect("b")]

    def run(self):
        flush = random.Random(seed)
        try:
            while not self.ending:
                number = self.issued = self.issued + 1
                self.disks[number % 2].pwrite(
                    struct.pack("<Q", number) * (BLOCK // 8),
                    number // 2 % SLOTS * BLOCK)
                if flush.randrange(20) == 0:
                    self.disks[number % 2].flush()
                    self.flushed = number
        except nbd.Error as error:
            self.failure = error

def numbers(export, parity):
    """The numbers of a disk, which must fill their blocks."""
    data = read(export)
    found = []
    for slot in range(SLOTS):
        block = data[slot * BLOCK:(slot + 1) * BLOCK]
        number, = struct.unpack_from("<Q", block)
        if block != struct.pack("<Q", number) * (BLOCK // 8):
            sys.exit("%s: slot %d is of two writes" % (export, slot))
        if number and (number % 2 != parity or number // 2 % SLOTS != slot):
            sys.exit("%s: slot %d has number %d" % (export, slot, number))
        found.append(number)
    return found

def check_prefix(snapshot, least, most):
    """All numbers up to the last one are there, and that is not too old."""
    found = numbers("b@" + snapshot, 1) + numbers("a@" + snapshot, 0)
    last = max(found)
    if not least <= last <= most:
        sys.exit("%s ends with %d; %d was flushed before, %d not yet written"
                 % (snapshot, last, least, most + 1))
    wanted = set(range(max(last - 2 * SLOTS + 1, 1), last + 1))
    if set(found) - {0} != wanted:
        sys.exit("%s: up to %d, but without %s, with %s" % (snapshot, last,
                 sorted(wanted - set(found)), sorted(set(found) - wanted)))
    return found

kept = {}                       # of the snapshots that are not deleted yet

def snapshot_round(i):
    name = "s%d" % i
    least = writer.flushed
    sqlblock("snapshot create", "a@" + name, "b@" + name, "idle@" + name)
    kept[name] = check_prefix(name, least, writer.issued)
    if len(kept) > 8:
        old = random.choice(list(kept))
        del kept[old]
        sqlblock("snapshot delete", "a@" + old, "b@" + old, "idle@" + old)
    again = random.choice(list(kept))
    if numbers("b@" + again, 1) + numbers("a@" + again, 0) != kept[again]:
        sys.exit("%s has changed" % again)

# --- Other disks ------------------------------------------------------------

def same(export, wanted):
    if read(export) != wanted:
        sys.exit("%s is not what it must be" % export)

def change(export, data):
    """Write some blocks; returns what the disk is then."""
    h = connect(export)
    for _ in range(8):
        offset = random.randrange(SIZE // BLOCK) * BLOCK
        block = bytes(BLOCK)
        if random.random() < .8:
            block = random.randbytes(BLOCK)
        h.pwrite(block, offset)
        data = data[:offset] + block + data[offset + BLOCK:]
    h.flush()
    h.shutdown()
    return data

def other_round(i):
    global idle
    before = idle
    sqlblock("snapshot create", "idle@before")
    idle = change("idle", idle)
    sqlblock("clone", "idle", "copy")
    sqlblock("clone", "idle@before", "old")
    same("copy", idle)
    old = change("old", before)
    ranges = sqlblock("diff", "idle@before", "--json")
    if (before != idle) != ('"offset"' in ranges):
        sys.exit("diff: %s" % ranges)
    sqlblock("rename", "old", "older")
    sqlblock("resize", "copy", "+1M")
    same("copy", idle + bytes(1 << 20))
    sqlblock("flatten", "older")
    sqlblock("rollback", "idle@before")
    same("idle", before)
    same("older", old)
    if random.random() < .5:
        sqlblock("snapshot delete", "idle@before")
        sqlblock("delete", "copy")
    else:
        sqlblock("delete", "copy")
        sqlblock("snapshot delete", "idle@before")
    idle = change("idle", before)
    same("older", old)
    sqlblock("delete", "older")
    sqlblock("list", "--json")

class Reader(threading.Thread):
    """Reads all of a disk, which must be as it was when it was connected to
    or, once it is rolled back by force, fail."""
    def __init__(self, export, wanted):
        super().__init__(daemon=True)
        self.h, self.wanted = connect(export), wanted
        self.reads, self.wrong = 0, None
        self.start()

    def run(self):
        try:
            while self.wrong is None:
                if self.h.pread(len(self.wanted), 0) != self.wanted:
                    self.wrong = "it reads what it was not"
                self.reads += 1
        except nbd.Error as error:
            if error.errnum not in (errno.EIO, errno.ESHUTDOWN):
                self.wrong = str(error)

def forced_round():
    global idle
    sqlblock("snapshot create", "idle@forced")
    before, idle = idle, change("idle", idle)
    readers = [Reader("idle", idle) for _ in range(3)]
    while any(reader.reads < 2 and reader.is_alive() for reader in readers):
        time.sleep(0.001)
    sqlblock("rollback", "idle@forced", "--force")
    idle = before
    for reader in readers:
        reader.join(60)
        if reader.wrong or reader.is_alive() or reader.reads < 2:
            sys.exit("a reader beside a forced roll-back: %s" % reader.wrong)
    same("idle", idle)
    sqlblock("snapshot delete", "idle@forced")

for _ in range(3000):
    if os.path.exists(directory + "/socket"):
        break
    time.sleep(0.01)
sqlblock("create", "a", "--size=%d" % (SLOTS * BLOCK))
sqlblock("create", "b", "--size=%d" % (SLOTS * BLOCK))
sqlblock("create", "idle", "--size=%d" % SIZE)
idle = bytes(SIZE)
writer = Writer()
writer.start()
for i in range(rounds):
    snapshot_round(i)
    other_round(i)
    forced_round()
    if writer.failure:
        sys.exit("a numbered block: %s" % writer.failure)
writer.ending = True
writer.join()
for name in kept:
    if numbers("b@" + name, 1) + numbers("a@" + name, 0) != kept[name]:
        sys.exit("%s has changed" % name)
with open(directory + "/log") as log:
    for line in log:
        # The readers beside a forced roll-back have failed.
        if ("error" in line or "warning" in line) and (
                "rolled back under" not in line):
            sys.exit("the server said: " + line)
print("  %d numbers, the last flushed %d" % (writer.issued, writer.flushed))
for command, seconds in times.items():
    seconds.sort()
    print("  %-16s %4d times, median %4.0f ms, longest %5.0f ms" % (command,
          len(seconds), seconds[len(seconds) // 2] * 1e3, seconds[-1] * 1e3))
EOF2

seed=${SQLBLOCK_SEED:-$RANDOM}
echo "seed $seed"
start_model --operations 1000000000 --kills 0 --seed "$seed"
timeout $((rounds * 10)) python3 "$tmp/manage.py" "$model_directory" "$rounds" \
  "$seed" || {
  tail -n 5 "$tmp/model.log" >&2
  fail "the commands or the writer, see above"
}
end_model
