#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The exports DISK@A..B and DISK@A..: their extents say what changed, as
# "sqlblock diff" does, and nothing that is not so; their data is that of B; what
# is frozen stays; no snapshot goes under a client. What nbdcopy and qemu-img
# make of them, with each of their options, is what the manual says.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdcopy nbdinfo nbdsh qemu-img python3 cmp
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
cd "$tmp"

# --- Extents against what is there ------------------------------------------

cat >look.py <<'EOF2'
# URI DISK FROM TO BLOCK: compare the increment with its two ends. RANGES, the
# JSON of "sqlblock diff", is on standard input.
import json, nbd, random, sys
uri, disk, FROM, TO, BLOCK = *sys.argv[1:5], int(sys.argv[5])
HOLE, ZERO = nbd.STATE_HOLE, nbd.STATE_ZERO
diff = json.load(sys.stdin)

def connect(name):
    h = nbd.NBD()
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.set_export_name(name)
    h.set_full_info(True)
    h.connect_unix(uri)
    return h

def read_all(h):
    size, data = h.get_size(), b""
    while len(data) < size:
        data += h.pread(min(size - len(data), 1 << 24), len(data))
    return data

def map_of(h, count, offset, flags=0):
    answer = []
    def extent(context, start, entries, error):
        assert start == offset
        answer.extend(zip(entries[0::2], entries[1::2]))
    h.block_status(count, offset, extent, flags)
    assert answer and all(length > 0 for length, kind in answer)
    assert sum(length for length, kind in answer) <= count
    return answer

def kinds(h, step, flags=0):
    """What is said of each block, asked in steps."""
    kinds, offset, size = {}, 0, h.get_size()
    while offset < size:
        for length, kind in map_of(h, min(step, size - offset), offset, flags):
            for block in range(offset // BLOCK, (offset + length - 1) // BLOCK + 1):
                assert kinds.setdefault(block, kind) == kind, block
            offset += length
            if flags:
                break
    return [kinds[block] for block in range((size - 1) // BLOCK + 1)]

h = connect("%s@%s..%s" % (disk, FROM, TO))
old = read_all(connect("%s@%s" % (disk, FROM)))
new = read_all(connect("%s@%s" % (disk, TO) if TO else disk))
assert h.is_read_only()
assert h.get_block_size(nbd.SIZE_PREFERRED) == BLOCK
assert h.can_multi_conn() == (TO != "")
assert read_all(h) == new, "its data is not that of its end"
said = kinds(h, 1 << 30)
assert said == kinds(h, 3 * BLOCK + 17)
assert said == kinds(h, 1 << 30, nbd.CMD_FLAG_REQ_ONE)
changed = {}
for entry in diff["ranges"]:
    for offset in range(entry["offset"], entry["offset"] + entry["length"], BLOCK):
        changed[offset // BLOCK] = 0 if entry["type"] == "data" else ZERO
behind = (len(old) - 1) // BLOCK + 1
for block, kind in enumerate(said):
    a, b = (data[block * BLOCK:(block + 1) * BLOCK] for data in (old, new))
    expected = changed.get(block, HOLE if block < behind else HOLE | ZERO)
    assert kind == expected, "block %d is %d, not %d" % (block, kind, expected)
    if kind & ZERO:
        assert not b.strip(b"\0"), "block %d is not zeroes" % block
    if kind == HOLE:
        assert a.ljust(len(b), b"\0")[:len(b)] == b, "block %d differs" % block
print(len(said), "blocks, changed", len(changed))
assert changed or len(new) > len(old)
EOF2

# look DISK FROM TO BLOCK
look ()
{
  sqlblock diff disks.sqlite "$1@$2" "$1${3:+@$3}" --json >diff.json
  python3 look.py "$tmp/s" "$1" "$2" "$3" "$4" <diff.json ||
    fail "the increment $1@$2..$3"
}

change ()
{
  python3 "$srcdir/lib/change.py" "$tmp/s" "$1" "$2" 40
}

sqlblock create -q disks.sqlite plain --size=3000001 --compression=none
sqlblock create -q disks.sqlite dedup --size=5M --block-size=16k --dedup
sqlblock create -q disks.sqlite zstd --size=2999296 --block-size=512 \
  --compression=zstd 2>/dev/null ||
  sqlblock create -q disks.sqlite zstd --size=2999296 --block-size=512
start_nbdkit s "$plugin" disks.sqlite
seed=1
for disk in plain:4096 dedup:16384 zstd:512; do
  block=${disk#*:} disk=${disk%:*}
  change "$disk" $((seed++))
  sqlblock snapshot create -q disks.sqlite "$disk@one"
  change "$disk" $((seed++))
  sqlblock snapshot create -q disks.sqlite "$disk@two"
  look "$disk" one two "$block"
  change "$disk" $((seed++))
  look "$disk" one "" "$block"
  look "$disk" two "" "$block"

  # Of a clone; and what goes on from an older snapshot.
  sqlblock clone -q disks.sqlite "$disk@one" "$disk-clone"
  sqlblock snapshot create -q disks.sqlite "$disk-clone@three"
  change "$disk-clone" $((seed++))
  look "$disk-clone" three "" "$block"
  sqlblock snapshot create -q disks.sqlite "$disk@three"
  sqlblock rollback -q disks.sqlite "$disk@one"
  change "$disk" $((seed++))
  sqlblock snapshot create -q disks.sqlite "$disk@four"
  look "$disk" three four "$block"
  look "$disk" one four "$block"

  # Larger, then smaller than it was.
  sqlblock resize -q disks.sqlite "$disk" 6000100
  look "$disk" four "" "$block"
  change "$disk" $((seed++))
  sqlblock snapshot create -q disks.sqlite "$disk@five"
  look "$disk" four five "$block"
  sqlblock resize -q disks.sqlite "$disk" 1000300 --shrink
  change "$disk" $((seed++))
  look "$disk" five "" "$block"
done
sqlblock check -q disks.sqlite || fail "the database"

# --- Names -------------------------------------------------------------------

# refused TEXT EXPORT: the client is, and the log says why.
refused ()
{
  : >s.log
  ! nbdinfo "$(uri s "$2")" >out 2>&1 || fail "there is an export $2"
  grep -qF -- "$1" s.log || fail "the log does not say «$1»: $(cat s.log)"
}
refused "disk 'plain' has no snapshot 'six'; it has: 'one'" plain@one..six
refused "disk 'plain' has no snapshot 'six'" plain@six..one
refused "no snapshot that was made by 1999-12-31" plain@1999-12-31..
refused "'plain@two' was made after 'plain@one'" plain@two..one
refused "there is no disk 'none'" none@one..two
nbdinfo "$(uri s plain@one..2999-12-31)" >out
grep -q 'changes of plain@one/[0-9a-f]\{16\}\.\.five/[0-9a-f]\{16\}/[0-9]*$' \
  out || fail "the description: $(cat out)"
nbdinfo --list "$(uri s)" >out
! grep -F .. out || fail "increments are listed"

# --- What lives as long as a client -----------------------------------------

cat >hold.py <<'EOF2'
# SOCKET: read, have the disk changed and snapshots deleted, read again.
import nbd, subprocess, sys
def connect(name):
    h = nbd.NBD()
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.set_export_name(name)
    h.connect_unix(sys.argv[1])
    return h
def look(h):
    said = []
    h.block_status(h.get_size(), 0,
                   lambda context, offset, entries, error: said.extend(entries))
    return said, h.pread(h.get_size(), 0)
def sqlblock(*arguments):
    return subprocess.call(["sqlblock", *arguments], stderr=subprocess.DEVNULL)
frozen, named = connect("dedup@four.."), connect("dedup@four..five")
before = look(named)
w = connect("dedup")
w.pwrite(b"later" * 10000, 0)
first = look(connect("dedup@four.."))
assert look(frozen) != first, "a later one is the same"
w.trim(w.get_size(), 0)
for snapshot in "four", "five":
    assert sqlblock("snapshot", "delete", "disks.sqlite",
                    "dedup@" + snapshot) == 5, snapshot
frozen_before = look(frozen)
w.shutdown()
assert sqlblock("rollback", "-q", "disks.sqlite", "dedup@one") == 0
assert look(frozen) == frozen_before, "it is not frozen"
assert look(named) == before
named.shutdown()
assert sqlblock("snapshot", "delete", "-q", "disks.sqlite", "dedup@five") == 0
assert look(frozen) == frozen_before
EOF2
python3 hold.py "$tmp/s" || fail "what a client has open"

# A client that dies lets go, and so does a server.
wait_for sqlblock snapshot delete -q disks.sqlite dedup@four
hidden="SELECT count (*) FROM snapshot WHERE name LIKE 'copy/%'"
[ "$(query disks.sqlite "$hidden")" = 0 ] || fail "something stays frozen"
nbdsh -u "$(uri s plain@one..)" -c 'import os; print ("there", flush=True)' \
  -c 'import time; time.sleep (100)' >there & client=$!
started_pids+=("$client")
wait_for grep -q there there
[ "$(query disks.sqlite "$hidden")" = 1 ] || fail "nothing is frozen"
kill_nbdkit
kill -9 "$client"
wait "$client" 2>/dev/null || :
sqlblock compact -q disks.sqlite
[ "$(query disks.sqlite "$hidden")" = 0 ] || fail "a dead server freezes"
sqlblock check -q disks.sqlite || fail "the database"

# Who may only read the database cannot freeze a disk.
mkdir only
cp disks.sqlite only
reads ()
{
  local name
  for name in plain@one..two plain@one..; do
    "$@" timeout 20 nbdkit -U - "$plugin" only/disks.sqlite --run \
      "nbdinfo --size 'nbd+unix:///$name?socket='\$unixsocket" >>out 2>&1 || :
  done
}
rm -f out
mounted_read_only only reads
if [ -e out ]; then
  grep -qx 3000001 out || fail "an increment of snapshots: $(cat out)"
  grep -q "freezing disk 'plain': the database can only be read" out ||
    fail "a disk that cannot be frozen: $(cat out)"
fi
