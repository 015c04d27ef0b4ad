#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What takes the space of the file: the parts add up, and are what deleting
# frees.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need sqlite3 nbdkit python3
PATH=$top_builddir/tool:$PATH
cd "$tmp" || exit 1

# adds_up: the parts are the file, and its data what SQLite finds in it.
adds_up ()
{
  local bytes
  bytes=$(query disks "SELECT
    (SELECT ifnull (sum (length (data)), 0) FROM block)
    + (SELECT ifnull (sum (length (data)), 0) FROM content)")
  sqlblock df disks --json >out || fail "df"
  python3 - "$bytes" "$(stat -c %s disks)" <<'EOF2' || fail "$(cat out)"
import json, sys
bytes, size = map(int, sys.argv[1:])
j = json.load(open("out"))
data = [j[k] for k in "disks snapshots trash hidden shared deleted".split()]
assert sum(data) == j["stored"] == bytes, (data, bytes)
assert sum(data) + j["tables"] + j["free"] == j["total"], j
assert j["total"] == j["file"] == size, (j, size)
# Beside data there are indexes, checksums and pages that are not full.
assert 0 < j["tables"] < 200000 + sum(data) / 2, j
assert j["room"] > 0 and j["log"] == 0, j
assert abs(j["ratio"] - (j["logical"] / bytes if bytes else 1)) < 1e-6, j
EOF2
}
part ()
{
  python3 -c 'import json, sys; print(json.load(open("out"))[sys.argv[1]])' "$1"
}
is ()
{
  [ "$(part "$1")" "$2" "$3" ] || fail "$1 is not $2 $3: $(cat out)"
}

head -c 1M /dev/urandom >image
{ head -c 512K image; head -c 512K /dev/zero | tr '\0' x; } >image2
sqlblock import -q disks web image --create --compression=none
adds_up
is disks = 1048576
is logical = 1048576
sqlblock snapshot create -q disks web@one
adds_up
is shared = 1048576
sqlblock import -q disks web image2 --overwrite
adds_up
is snapshots -ge 524288
sqlblock clone -q disks web@one copy
sqlblock import -q disks other image --compression=none
sqlblock import -q disks third image2 --compression=lz4 --dedup
adds_up
is disks -ge 1048576
sqlblock set -q disks trash=1h
before=$(part stored)
sqlblock delete -q disks other
adds_up
is trash = 1048576
is stored = "$before"
sqlblock trash empty -q disks --no-reclaim
adds_up
is trash = 0
is deleted = 1048576
sqlblock compact -q disks
adds_up
is deleted = 0
is stored = $((before - 1048576))
is free = 0
sqlblock df disks -Hp -o what,size >table
[ "$(awk '$1 == "total" { print $2 }' table)" = "$(stat -c %s disks)" ] ||
  fail "$(cat table)"
sqlblock df disks >/dev/null

# Beside a server, where the log has some of it, and through one.
start_nbdkit socket "$plugin" "$tmp/disks" control="$tmp/control"
await_answer socket
nbdsh -u "nbd+unix:///web?socket=$tmp/socket" -c '
import os
h.pwrite(os.urandom(400000), 8192)
h.flush()
import json, subprocess
for more in [], ["--control=" + os.environ["tmp"] + "/control"]:
    r = subprocess.run(["sqlblock", "df", "disks", "--json", *more],
                       capture_output=True, text=True)
    assert r.returncode == 0, r
    j = json.loads(r.stdout)
    parts = "disks snapshots trash hidden shared deleted tables free".split()
    assert sum(j[p] for p in parts) == j["total"], j
    assert j["log"] > 0, j
' || fail "beside a server"
