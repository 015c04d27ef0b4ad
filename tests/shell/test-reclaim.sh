#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Space that comes back: discarded blocks are used again at once, so the file
# does not grow; and a server gives what stays free back to the file system
# while clients write, in short steps: all of a disk, and half of it in random
# pieces. It prints how long writes take with and without that.
#
# SOAK=yes in the environment fills 10 GiB rather than 128 MiB; it needs
# 24 GiB of space in /tmp. What takes the square of the size takes too long
# there; unit-shrink.c finds that at once.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
mib=128 patience=100
if [ "${SOAK-}" = yes ]; then
  mib=10240 patience=3600
  space=$(df --output=avail -B1M "$tmp" | tail -n 1)
  if [ "$space" -lt 24576 ]; then
    echo "10 GiB were not tried: $tmp has $space MiB of space"
    mib=128
  fi
else
  available=$(df -m --output=avail /dev/shm 2>/dev/null | tail -n 1) || :
  if [ -w /dev/shm ] && [ "${available:-0}" -ge 1500 ]; then
    rmdir "$tmp"
    tmp=$(mktemp -d /dev/shm/sqlblock-test.XXXXXX)
  fi
fi
cd "$tmp"
db=d.sqlite

cat >client.py <<'EOF2'
import nbd, os, random, sys, time

uri, mib, patience = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
MIB = 1 << 20
# What takes the square of the size takes hours.
longest = max(patience // 6, 100)
noise = os.urandom(MIB)
seed = int(os.environ.get("SQLBLOCK_SEED") or random.randrange(2 ** 32))
print("seed: %d (set SQLBLOCK_SEED to repeat)" % seed)
rng = random.Random(seed)
h = nbd.NBD()
h.connect_uri(uri)

def size():
    return os.stat("d.sqlite").st_size

def fill():
    for i in range(mib):
        h.pwrite(noise, i * MIB)

def trim(first, end):
    for i in range(first, end, 64):
        h.trim(min(64, end - i) * MIB, i * MIB)

def percentile(times, share):
    return sorted(times)[int(len(times) * share)] * 1000

def write(seconds, until=None):
    """Write the last MiBs, 4 KiB at a time; the latencies."""
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end and not (until and until()):
        for _ in range(50):
            at = (mib + rng.randrange(16)) * MIB + rng.randrange(256) * 4096
            first = rng.randrange(MIB - 4096)
            data = noise[first:first + 4096]
            start = time.monotonic()
            h.pwrite(data, at)
            times.append(time.monotonic() - start)
        time.sleep(0.01)
    return times

def report(name, times):
    print("  %-22s %6d writes, p50 %.2f ms, p99 %.2f ms, worst %.2f ms" %
          (name, len(times), percentile(times, .5), percentile(times, .99),
           max(times) * 1000))

if sys.argv[4] == "reuse":
    # Each round fills the disk and discards it, in another order.
    sizes = []
    for round in range(4):
        fill()
        h.flush()
        sizes.append(os.stat("d.sqlite").st_size)
        parts = list(range(0, mib, 16))
        rng.shuffle(parts)
        for part in parts:
            h.trim(16 * MIB, part * MIB)
    # Half of it stays, and the free half is filled.
    fill()
    trim(0, mib // 2)
    for i in range(mib // 2):
        h.pwrite(noise, i * MIB)
    h.flush()
    sizes.append(size())
    print("  the file has %s MiB" % ", ".join(str(s >> 20) for s in sizes))
    assert max(sizes[1:]) <= max(sizes[0], mib * MIB * 9 // 8) * 1.02, sizes
else:
    # Half of it stays, in pieces of 64 KiB, and what may stay free; or all
    # but the few blocks that are written meanwhile goes.
    half = sys.argv[4] == "half"
    fill()
    write(1)
    time.sleep(2)
    full = size()
    report("before", write(2))
    pieces = list(range(0, mib * MIB, 65536))
    rng.shuffle(pieces)
    stay = sorted(pieces[len(pieces) // 2:]) if half else []
    if half:
        for piece in pieces[:len(pieces) // 2]:
            h.trim(65536, piece)
    else:
        trim(0, mib)
    trimmed = time.monotonic()
    def small():
        if half:
            return size() < full * 0.62 + 20 * MIB
        return size() < full // 4 and size() < 64 * MIB
    during = write(longest, small)
    report("while pages go back", during)
    # With the last checkpoint, after a second without commits.
    while not small():
        assert time.monotonic() < trimmed + longest, \
            "the file has %d MiB still" % (size() >> 20)
        time.sleep(.1)
    print("  from %d to %d MiB in %.1f s" %
          (full >> 20, size() >> 20, time.monotonic() - trimmed))
    # A loose bound, for busy machines.
    assert max(during) < 1, "the worst write took too long"
    for i in range(0, 16):
        h.pread(MIB, (mib + i) * MIB)
    for piece in stay:
        at = piece % MIB
        assert h.pread(65536, piece) == noise[at:at + 65536], piece
h.flush()
EOF2

# client STEP: on the server.
client ()
{
  timeout $((patience + 100)) python3 client.py "$(uri s)" $mib $patience \
    "$1" || {
    tail -n 5 s.log >&2
    fail "$1"
  }
}

# check: nothing was lost.
check ()
{
  python3 -c 'import sqlite3
c = sqlite3.connect("file:d.sqlite?mode=ro", uri=True)
assert c.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
# And the list of free pages, which that leaves out where there are views.
assert c.execute(
    "PRAGMA integrity_check(sqlite_schema)").fetchall() == [("ok",)]'
}

echo "free pages are used again:"
start_nbdkit s "$plugin" $db size=$((mib + 16))M reclaim=off
client reuse
# With reclaim=off they stay.  What was allocated behind them goes when the log
# is emptied.
log_is_empty ()
{
  [ ! -s "$db-wal" ]
}
wait_for log_is_empty
before=$(stat -c %s $db)
sleep 2.5
[ "$(stat -c %s $db)" -ge "$before" ] || fail "reclaim=off gave pages back"
kill_nbdkit

for part in all half; do
  echo "and given back, $part:"
  rm $db*
  start_nbdkit s "$plugin" $db size=$((mib + 16))M
  client $part
  kill_nbdkit
  check
done

# Beside a server that is idle, what a command has freed goes back, too; and
# as much stays free as is asked for.
[ "${SOAK-}" = yes ] && exit 0
rm $db*
start_nbdkit s "$plugin" $db size=64M reclaim=4M
nbdsh -u "$(uri s)" -c 'import os
for i in range(40): h.pwrite(os.urandom(1 << 20), i << 20)'
sqlblock snapshot create -q $db disk@a
nbdsh -u "$(uri s)" -c 'h.trim(64 << 20, 0)'
sqlblock snapshot delete -q $db disk@a
for ((i = 0; i < 300; i++)); do
  size=$(stat -c %s $db)
  [ "$size" -lt $((4 << 20)) ] || [ "$size" -ge $((6 << 20)) ] || break
  sleep 0.1
done
[ "$i" -lt 300 ] || fail "the file has $size bytes"
kill_nbdkit
check
for word in maybe -1 3x; do
  expect_error "reclaim=: '$word'" \
    nbdkit -U - "$plugin" $db reclaim=$word --run true
done
