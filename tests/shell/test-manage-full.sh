#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Every command that changes disks on a file system that is full, or that
# becomes full in the middle of it (managed.py): the command works, or it
# fails, says so, and has changed nothing; what has no space needs none to
# be read; when there is space again, it works.
#
# A small tmpfs holds the database and a file that takes what space there
# is to be left. Mounting needs root; it is done in a mount namespace of
# this test.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3 unshare mount fallocate
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

in_own_mounts "$@"
PATH=$top_builddir/tool:$PATH

# Of random sizes, besides those around what the command needs.
steps=0
[ "${SOAK-}" = yes ] && steps=60

cat >"$tmp/full.py" <<'EOF2'
import os, random, sys
from managed import *

directory, mounted, plugin, steps, seed = (
    sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
chosen = sys.argv[6:] or list(COMMANDS)
template, db, filler = (directory + "/template", mounted + "/disks",
                        mounted + "/filler")
random.seed(seed)
counts = {"worked": 0, "failed": 0}

def free_bytes():
    status = os.statvfs(mounted)
    return status.f_bavail * status.f_frsize

def leave(size):
    """Leave SIZE bytes of the file system."""
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free_bytes() - size, 1))

def give_back():
    os.unlink(filler)

def attempt(name):
    """The command works, or says that there is no space; the result is
    whether it was done. Where only freeing rows failed, it works and warns."""
    process = start(db, COMMANDS[name][0])
    error = process.communicate(timeout=120)[1]
    counts["worked" if process.returncode == 0 else "failed"] += 1
    if process.returncode == 0:
        return True
    if process.returncode != 1 or not any(
            words in error for words in ("No space", "is full", "no space")):
        fail(name, "ended with", process.returncode, error)
    return False

def try_with(name, size, before, after):
    restore(template, db)
    server = None
    if random.random() < .5:
        server = Server(db, plugin)
        server.read("web")
        server.connect("mail").pwrite(bytes(range(256)) * 2, 0)
    leave(size)
    worked = attempt(name)
    if server:
        found = state(db, server)
        if found != (after if worked else before):
            fail(name, "on a full file system changed",
                 difference(found, after if worked else before))
        if random.random() < .5:
            server.kill()
            server = None
    give_back()
    if not server:
        server = Server(db, plugin)
    check_file(db, name)
    found = state(db, server)
    if found != (after if worked else before):
        fail(name, "done" if worked else "not done", "changed",
             difference(found, after if worked else before))
    words, codes_done = COMMANDS[name]
    run(db, words, {0} | codes_done if worked else {0})
    if state(db, server) != after:
        fail(name, "does not work when there is space")
    check_reclaimed(db, name)
    check_file(db, name)
    if server.connect("mail").pread(512, 0) not in (bytes(512),
                                                    bytes(range(256)) * 2):
        fail("mail has changed")
    server.kill()
    return worked

def approach(name, before, after):
    """Try the command with about as much space as it needs."""
    low, high = 0, 8 << 20
    while high - low > 32768:
        middle = (low + high) // 2
        if try_with(name, middle, before, after):
            high = middle
        else:
            low = middle
    print("  %-16s needs %4d KiB" % (name, high >> 10))
    return high

make(template, plugin)
before = state_of(template, plugin)
for name in chosen:
    restore(template, db)
    run(db, COMMANDS[name][0])
    after = state_of(db, plugin)
    try_with(name, 0, before, after)
    needed = approach(name, before, after)
    for _ in range(steps):
        try_with(name, random.randrange(needed + 65536), before, after)
print("  %d times they worked, %d times there was no space"
      % (counts["worked"], counts["failed"]))
EOF2

mkdir "$mounts/tmpfs"
mount -t tmpfs -o size=40M none "$mounts/tmpfs" ||
  skip "no tmpfs can be mounted"
seed=${SQLBLOCK_SEED:-$RANDOM}
echo "seed $seed"
PYTHONPATH=$srcdir/lib PYTHONDONTWRITEBYTECODE=1 \
  timeout $((900 + steps * 120)) python3 "$tmp/full.py" "$tmp" "$mounts/tmpfs" \
  "$plugin" "$steps" "$seed" "$@" || fail "seed $seed"

# Above all, a file that has filled its file system can be made smaller there.
echo "compact where there are 256 KiB:"
mkdir "$mounts/second"
mount -t tmpfs -o size=400M none "$mounts/second" ||
  skip "no tmpfs can be mounted"
db=$mounts/second/disks
start_nbdkit s "$plugin" "$db" size=128M compression=none reclaim=false
nbdsh -u "$(uri s)" -c '
import os, random
pieces = list(range(2048))
random.shuffle(pieces)
for i in range(128):
    h.pwrite(os.urandom(1 << 20), i << 20)
for piece in pieces[:1024]:
    h.trim(65536, piece * 65536)'
kill_nbdkit
sqlblock describe "$db" disk "its log is empty now"
[ ! -s "$db-wal" ] || fail "there is a log"
before=$(stat -c %s "$db")
space=$(df --output=avail -B1 "$mounts/second" | tail -n 1)
fallocate -l $((space - 262144)) "$mounts/second/filler"
sqlblock compact --no-progress "$db" || fail "compact on a full file system"
after=$(stat -c %s "$db")
[ "$after" -lt $((before * 6 / 10)) ] ||
  fail "compact on a full file system: from $before to $after bytes"
