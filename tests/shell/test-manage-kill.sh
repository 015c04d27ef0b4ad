#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# kill -9 at a random moment of each command that changes disks, or where
# there is strace at one of its writes to files; by itself and beside a
# server, which is killed with it every other time. Afterwards
# the file is sound, all disks and snapshots read as before or as after the
# command, doing it again works, and no row is left that nobody sees
# (managed.py).
#
# An argument is the one command to try. SOAK=yes in the environment makes it
# 60 times as long.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"
PATH=$top_builddir/tool:$PATH

rounds=3
[ "${SOAK-}" = yes ] && rounds=180

cat >"$tmp/kill.py" <<'EOF2'
import os, random, shutil, struct, subprocess, sys, threading, time
import nbd
from managed import *

directory, plugin, rounds, seed = (sys.argv[1], sys.argv[2], int(sys.argv[3]),
                                   int(sys.argv[4]))
chosen = sys.argv[5:] or list(COMMANDS)
db, template = directory + "/disks", directory + "/template"
random.seed(seed)
counts = {"before": 0, "after": 0, "ended": 0, "reclaiming": 0}

class Writer(threading.Thread):
    """Writes numbers to the disk mail, over and over, for as long as there
    is a server."""
    def __init__(self, server):
        super().__init__(daemon=True)
        self.h = server.connect("mail")
        self.acknowledged = 0
        self.ending = False
        self.start()

    def run(self):
        number = 0
        try:
            while not self.ending:
                number += 1
                self.h.pwrite(struct.pack("<Q", number) * (BLOCK // 8),
                              number % 64 * BLOCK)
                self.acknowledged = number
                time.sleep(0.001)
        except nbd.Error as error:
            if not self.ending:
                fail("beside the command a write failed:", error)

def check_numbers(server, least):
    data = server.read("mail")
    last = max(struct.unpack("<%dQ" % (len(data) // 8), data))
    if last < least:
        fail("mail has %d, and %d was acknowledged" % (last, least))

def traced(options, words):
    """Run a command under strace, which looks at the writes to files."""
    words, stream = put_file(db, words)
    with stream:
        return subprocess.run(
            ["strace", "-f", "-qq", "-e", "trace=pwrite64", *options,
             "sqlblock", *words], stdin=stream, capture_output=True).returncode

def count_writes(words):
    """How many writes a command makes, 0 where strace is not to be had."""
    trace = directory + "/trace"
    if not shutil.which("strace") or traced(["-o", trace], words):
        return 0
    with open(trace) as lines:
        return sum(1 for line in lines)

def interrupt(words, longest, writes):
    """Kill the command, at some moment or at one of its writes; False where
    it had ended by then."""
    if writes and random.random() < .6:
        when = "inject=pwrite64:signal=KILL:when=%d" % random.randint(1, writes)
        return traced(["-o", "/dev/null", "-e", when], words) != 0
    process = start(db, words)
    time.sleep(random.random() * random.choice((.3, 1)) * longest)
    ended = process.poll() is not None
    process.kill()
    process.communicate()
    return not ended

def check(name, server, before, after):
    """What is there after the kill; returns whether the command was done."""
    words, codes_done = COMMANDS[name]
    found = state(db, server)
    check_file(db, name)
    if found not in (before, after):
        fail(name, "is done by halves:", difference(found, before),
             "changed, and these should also:", difference(found, after))
    if ask(db, "SELECT count (*) FROM reclaim") > 0:
        counts["reclaiming"] += 1
    done = found == after
    run(db, words, codes_done | {0} if done else {0})
    if state(db, server) != after:
        fail(name, "again does not do it")
    check_reclaimed(db, name)
    check_file(db, name)
    if state(db, server) != after:
        fail(name, "and freeing changed something")
    if name == "shrink":
        # What was cut off must not come back.
        run(db, ["resize", "web", str(SIZE)])
        if any(server.read("web")[1 << 20:]):
            fail(name, "left something behind the end")
    return done

def check_copy(name):
    """What was left, by another program: as the last one it moves the log into
    the file, which then does not say that it is whole."""
    copy = directory + "/copy"
    remove(copy)
    for end in "", "-wal":
        if os.path.exists(db + end):
            shutil.copy(db + end, copy + end)
    check_file(copy, name)

def alone(name, longest, writes, before, after):
    restore(template, db)
    counts["ended"] += not interrupt(COMMANDS[name][0], longest, writes)
    if random.random() < .5:
        check_copy(name)
    server = Server(db, plugin)
    done = check(name, server, before, after)
    server.kill()
    counts["after" if done else "before"] += 1

def beside_server(name, longest, writes, before, after):
    restore(template, db)
    server = Server(db, plugin)
    writer = Writer(server)
    time.sleep(0.02)
    counts["ended"] += not interrupt(COMMANDS[name][0], longest, writes)
    if random.random() < .5:
        writer.ending = True
        server.kill()
        server = Server(db, plugin)
        check_numbers(server, writer.acknowledged)
        writer = Writer(server)
    done = check(name, server, before, after)
    writer.ending = True
    writer.join()
    check_numbers(server, 1)
    server.kill()
    counts["after" if done else "before"] += 1

make(template, plugin)
before = state_of(template, plugin)
for name in chosen:
    restore(template, db)
    begin = time.monotonic()
    run(db, COMMANDS[name][0])
    longest = (time.monotonic() - begin) * 1.1
    after = state_of(db, plugin)
    restore(template, db)
    writes = count_writes(COMMANDS[name][0])
    for _ in range(rounds):
        alone(name, longest, writes, before, after)
        beside_server(name, longest, writes, before, after)
print("  %d kills: %d times the command was not done, %d times it was; "
      "%d times it had ended, %d times space was to be freed"
      % (counts["before"] + counts["after"], counts["before"],
         counts["after"], counts["ended"], counts["reclaiming"]))
if len(chosen) > 1 and not (counts["before"] and counts["after"]):
    fail("no kill came in time, or none late enough")
EOF2

seed=${SQLBLOCK_SEED:-$RANDOM}
echo "seed $seed"
PYTHONPATH=$srcdir/lib PYTHONDONTWRITEBYTECODE=1 \
  timeout $((rounds * 300)) python3 "$tmp/kill.py" "$tmp" "$plugin" \
  "$rounds" "$seed" "$@" || fail "seed $seed"
