#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What disks and snapshots store and share, and what deleting several of them
# together frees: list, info, get and usage say the same, and SQLite finds it.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need sqlite3 nbdkit python3
PATH=$top_builddir/tool:$PATH
cd "$tmp" || exit 1

cat >check.py <<'EOF2'
"""Compare what the commands say with what the tables have."""
import json, sqlite3, subprocess, sys
db, *more = sys.argv[1:]
def ask(*words):
    words = ["sqlblock", *words, *more]
    return json.loads(subprocess.run(words, check=True, text=True,
                                     stdout=subprocess.PIPE).stdout)
con = sqlite3.connect(f"file:{db}?mode=ro", uri=True)
blocks = {i: (layer, number, generation, codec, length, content)
          for i, layer, number, generation, codec, length, content in
          con.execute("SELECT id, layer, number, generation, codec,"
                      " ifnull(length(data), 0), content FROM block")}
contents = dict(con.execute("SELECT id, length(data) FROM content"))
layers = {i: (parent, at) for i, parent, at in
          con.execute("SELECT id, parent, parent_generation FROM layer")}
def shows(layer, generation):
    """The rows that are shown, by number."""
    rows = {}
    while layer:
        mine = {}
        for i, (at, number, of, *_) in blocks.items():
            if at == layer and of <= generation and (
                    number not in mine or blocks[mine[number]][2] < of):
                mine[number] = i
        rows = {**mine, **rows}
        layer, generation = layers[layer]
    return {n: i for n, i in rows.items() if blocks[i][3] != 0}
views = {}
for name, layer, generation, size in con.execute(
        "SELECT name, layer, generation, block_size FROM disk"
        " JOIN layer ON layer.id = layer"):
    views[name] = shows(layer, generation), size
for name, layer, generation, size in con.execute(
        "SELECT disk.name || '@' || snapshot.name, snapshot.layer, generation,"
        " block_size FROM snapshot JOIN disk ON disk.id = disk"):
    views[name] = shows(layer, generation), size
def data(rows):
    """The rows and contents that hold these rows."""
    return {("content", blocks[i][5]) if blocks[i][3] == 4 else ("block", i)
            for i in rows}
def size_of(data):
    return sum(contents[i] if kind == "content" else blocks[i][4]
               for kind, i in data)
def shown(*names):
    return set().union(*(data(views[n][0].values()) for n in names))
expected = {}
for name, (rows, block) in views.items():
    mine = data(rows.values())
    rest = shown(*(n for n in views if n != name))
    expected[name] = {
        "logical": len(rows) * block, "stored": size_of(mine),
        "shared": size_of(mine & rest), "alone": size_of(mine - rest)}
visible = {n for n in views if "/" not in n}
said = ask("usage", db, "--json")
assert {u["name"] for u in said["usage"]} == visible, said
def fits(name, j, frees):
    e = expected[name]
    for key in "logical", "stored", "shared":
        assert j[key] == e[key], (name, key, j, e)
    ratio = e["logical"] / e["stored"] if e["stored"] else 1
    assert abs(j["ratio"] - ratio) < 1e-6, j
    # Where clones are it may be more: what each of several hides.
    assert j[frees] == e["alone"] or (CLONES and j[frees] > e["alone"]), (j, e)
CLONES = any(parent for parent, _ in layers.values())
for usage in said["usage"]:
    fits(usage["name"], usage, "frees")
listed = ask("list", db, "--all", "--usage", "--json")
for disk in listed["disks"]:
    fits(disk["name"], disk, "exclusive")
for snapshot in listed["snapshots"]:
    fits(snapshot["disk"] + "@" + snapshot["snapshot"], snapshot, "exclusive")
for name in visible:
    fits(name, ask("info", db, name, "--json"), "exclusive")
    got = {p["property"]: p["value"] for p in
           ask("get", db, name, "--json")["properties"]}
    fits(name, got, "used" if "@" in name else "only-here")
def together(*texts):
    return ask("usage", db, *texts, "--json")["together"]
names = sorted(n for n in visible if "@" in n)
for i in range(len(names)):
    for j in range(i, len(names)):
        some = names[i:j + 1]
        gone = shown(*some) - shown(*(n for n in views if n not in some))
        frees = together(*some)
        assert frees == size_of(gone) or (CLONES and frees >= size_of(gone)), (
            some, frees, size_of(gone))
total = together()
hidden = shown(*(n for n in views if n not in visible))
assert total == size_of(shown(*views) - hidden) or CLONES, total
EOF2
check ()
{
  python3 check.py disks "$@" || fail "${FUNCNAME[*]}: the numbers differ"
}

head -c 400000 /dev/urandom >noise
for ((i = 0; i < 300; i++)); do printf '%4000d\n' $((i % 90)); done >text
cat noise text >both
sqlblock create -q disks web --size=8M --compression=none
check
sqlblock import -q disks web both --overwrite
sqlblock snapshot create -q disks web@a
check
sqlblock set -q disks web compression=lz4 2>/dev/null ||
  sqlblock set -q disks web compression=none
sqlblock import -q disks web text --overwrite
sqlblock snapshot create -q disks web@b
sqlblock set -q disks web dedup=on
{ cat both; cat text; } >more
sqlblock import -q disks web more --overwrite
sqlblock snapshot create -q disks web@c
check
sqlblock import -q disks mail both --create --dedup --block-size=16k
check
sqlblock clone -q disks web@b clone
sqlblock import -q disks clone noise --overwrite
sqlblock rollback -q disks web@a
sqlblock snapshot create -q disks web@d
check
sqlblock set -q disks trash=1h
sqlblock delete -q disks mail
check
sqlblock snapshot delete -q disks web@b
check
sqlblock compact -q disks
check
sqlblock recompress -q disks web >/dev/null
check

# What is said to be freed together is what deleting frees.
left ()
{
  query disks "SELECT (SELECT ifnull (sum (length (data)), 0) FROM block)
    + (SELECT ifnull (sum (length (data)), 0) FROM content)"
}
sqlblock usage disks 'web@a%c' -Hp -o name,frees >out || fail "usage"
[ "$(cut -f1 out | tr '\n' ' ')" = "web@a web@c /together " ] ||
  fail "$(cat out)"
before=$(left)
sqlblock snapshot delete -q disks 'web@a..c'
sqlblock compact -q disks
[ $((before - $(left))) = "$(tail -n 1 out | cut -f2)" ] || fail "$(cat out)"
check
sqlblock usage disks 'w*' 'clo?e' web@d web -Hp -o name,frees >out ||
  fail "patterns"
[ "$(cut -f1 out | tr '\n' ' ')" = "web web@d clone /together " ] ||
  fail "$(cat out)"
before=$(left)
sqlblock delete -q disks web clone --snapshots --now
sqlblock compact -q disks
[ $((before - $(left))) = "$(tail -n 1 out | cut -f2)" ] || fail "$(cat out)"
sqlblock usage disks >out || fail "of no disks"
grep -q ^/together out || fail "$(cat out)"
[ "$(sqlblock usage disks none 2>&1 >/dev/null; echo $?)" != 0 ] ||
  fail "a disk that is not there has a usage"
sqlblock undelete -q disks mail

# Through a server, whose clients write and trim.
sqlblock create -q disks web --size=8M --dedup
start_nbdkit socket "$plugin" "$tmp/disks" control="$tmp/control"
await_answer socket
nbdsh -u "nbd+unix:///web?socket=$tmp/socket" -c '
data = open("both", "rb").read(1200000 // 4096 * 4096)
h.pwrite(data, 0)
h.pwrite(data[:40960], 4 << 20)
' || fail "written"
sqlblock snapshot create -q disks web@a --control="$tmp/control"
nbdsh -u "nbd+unix:///web?socket=$tmp/socket" -c '
h.trim(300000, 50000)
h.zero(50000, 700000)
h.pwrite(open("noise", "rb").read(8192), 1 << 20)
h.flush()
' || fail "trimmed"
check
check --control="$tmp/control"
