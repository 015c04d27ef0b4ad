#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A damaged layer: what the lists can count they count, and "compact" does what
# can be done; both say what cannot, and fail.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need python3
PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=d.sqlite

head -c 1M /dev/urandom >noise
for disk in a b c; do
  sqlblock import -q "$db" "$disk" noise --create --block-size=512 \
    --compression=none
done
sqlblock snapshot create -q "$db" b@monday

# Spoil a page of the index of the blocks that holds entries of b only.
python3 - "$db" <<'EOF2' || skip "this SQLite has no dbstat"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
try:
    pages = [page for page, in db.execute(
        "SELECT pageno FROM dbstat WHERE name = 'block_by_number'"
        " AND pagetype = 'leaf' ORDER BY path")]
except sqlite3.OperationalError:
    sys.exit(1)
size, = db.execute("PRAGMA page_size").fetchone()
db.close()
with open(sys.argv[1], "r+b") as f:
    f.seek((pages[len(pages) // 2] - 1) * size + 2000)
    byte = f.read(1)[0]
    f.seek(-1, 1)
    f.write(bytes([byte ^ 1]))
EOF2

# json COMMAND... EXPRESSION: the command ends with 1, and prints JSON, j, for
# which this is true.
json ()
{
  local code=0
  sqlblock "${@:1:$#-1}" --json >out 2>err || code=$?
  [ "$code" = 1 ] || fail "exit code $code: $*"
  grep -q "does not fit its checksum" err || fail "no message: $*"
  python3 -c '
import json, sys
j = json.load(open("out"))
assert eval("(" + sys.argv[1] + ")"), json.dumps(j, indent=2)' "${@: -1}" ||
    { cat err >&2; fail "json: $*"; }
}

size=$((1 << 20))
json list "$db" --usage --all "[d['stored'] for d in j['disks']]
  == [$size, None, $size]
  and [d['history'] for d in j['disks']] == [$size, None, $size]
  and j['snapshots'][0]['stored'] is None
  and j['snapshots'][0]['exclusive'] is None"
json snapshot list "$db" --usage "len (j['snapshots']) == 1"
json info "$db" b "j['size'] == $size and j['stored'] is None
  and j['exclusive'] is None and j['history'] is None"
json info "$db" b@monday "j['disk'] == 'b' and j['stored'] is None"
sqlblock info "$db" c --json >/dev/null
sqlblock list "$db" --usage >text 2>err && fail "a list without a failure"
grep -Eq "^a +1M +- +1M +1M" text || fail "a: $(cat text)"
grep -Eq "^b +1M +- +\? +\?" text || fail "b: $(cat text)"
sqlblock info "$db" b >text 2>err && fail "a disk without a failure"
grep -Eq "^stored: +\?" text || fail "info: $(cat text)"

# What belongs to a is freed, although b, which comes before it, cannot be.
for disk in a b c; do
  sqlblock delete -q "$db" "$disk" --snapshots --no-reclaim
done
json compact "$db" "j['freed'] == 2 * $size and j['after'] > 0"
