#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Lists for scripts and for people: which columns, in which order, sorted, exact,
# without a heading; they say what the JSON says.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need python3

PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=d.sqlite

head -c 300000 /dev/urandom >image
sqlblock create -q $db web --size=20M --quota=1G -d "The  web, all of it" \
  --compression=none
sqlblock create -q $db mail --size=1500000 --block-size=16k --dedup
sqlblock import -q $db "a disk" image
sqlblock snapshot create -q $db web@zebra
sqlblock import -q $db web image --overwrite
sqlblock snapshot create -q $db web@ape
sqlblock snapshot hold -q $db web@ape nightly
sqlblock describe $db web@ape "before it" -q
sqlblock clone -q $db web@ape clone

# shows EXPECTED ARGUMENT...: lines, with | for tabs.
shows ()
{
  local expected=$1
  shift
  sqlblock "$@" >out || fail "$*"
  [ "$(tr '\t' '|' <out)" = "$expected" ] ||
    fail "$*: $(tr '\t' '|' <out), not $expected"
}
shows "web|20971520
mail|1500000
a disk|300000
clone|20971520" list $db -Hp -o name,size
shows "a disk
mail
web
clone" list $db -H -o name -s size
shows "web
clone
mail
a disk" list $db -H -o NAME --sort-down=Size
shows "mail|-
a disk|-
clone|-
web|1G" list $db -H --columns=name,quota --sort=quota
shows "a disk|lz4|off|4K|-
clone|none|off|4K|-
mail|lz4|on|16K|-
web|none|off|4K|The  web, all of it" list $db -H \
  -o name,compression,dedup,block,description -s name
shows "web@ape|nightly|before it
web@zebra|-|-" snap ls $db web -H -o name,holds,description -s name
shows "web@zebra
web@ape" snapshot list $db -H -o name -s holds
[ "$(sqlblock list $db -o size,name | head -2 | tail -1)" = "  20M  web" ] ||
  fail "a table for people: $(sqlblock list $db -o size,name)"
[ "$(sqlblock list $db -a -H -s size -o name | tail -1)" = clone ] ||
  fail "what is equal does not stay in its order"

# All columns, against the JSON.
cat >compare.py <<'EOF2'
import datetime, json, subprocess, sys
def ask(*words):
    return subprocess.run(["sqlblock", *words], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
def seconds(text):
    return str(int(datetime.datetime.fromisoformat(
        text.replace("Z", "+00:00")).timestamp()))
def usage(item):
    return [str(item["logical"]), str(item["stored"]), "%.2f" % item["ratio"],
            str(item["shared"])]
def text(value):
    return "-" if value in (None, "") else str(value)
db = sys.argv[1]
disks = json.loads(ask("list", db, "--json", "--usage"))["disks"]
rows = ask("list", db, "-Hp", "-o", "name,size,quota,logical,stored,ratio,shared,frees,exclusive,"
           "snapshots,created,origin,block,compression,dedup,encrypted,description")
assert len(disks) == 4
assert [row.split("\t") for row in rows.splitlines()] == [
    [disk["name"], str(disk["size"]), text(disk["quota"]), *usage(disk),
     str(disk["history"]), str(disk["exclusive"]), str(disk["snapshots"]),
     seconds(disk["created"]), text(disk["origin"]), str(disk["block_size"]),
     disk["compression"], "on" if disk["dedup"] else "off",
     "yes" if disk["encrypted"] else "no",
     text(disk["description"])] for disk in disks], rows
snapshots = json.loads(ask("snapshot", "list", db, "--json",
                           "--usage"))["snapshots"]
rows = ask("snapshot", "list", db, "-Hp", "-o", "name,size,logical,stored,"
           "ratio,shared,frees,exclusive,created,by,holds,guid,description")
assert len(snapshots) == 2
assert [row.split("\t") for row in rows.splitlines()] == [
    [s["disk"] + "@" + s["snapshot"], str(s["size"]), *usage(s),
     str(s["exclusive"]), str(s["exclusive"]), seconds(s["created"]),
     "server" if s["automatic"] else "user", text(",".join(s["holds"])),
     s["guid"], text(s["description"])] for s in snapshots], rows
print(rows)
EOF2
python3 compare.py $db || fail "the table and the JSON differ"

fails 2 "there is no column 'sizes'; there are: NAME, SIZE, QUOTA" \
  list $db -o name,sizes
fails 2 "there is no column ''" list $db -o name,
fails 2 "there is no column 'guid'" list nothing.sqlite -s guid
fails 2 "exclude each other" list $db -s name -S size
fails 2 "JSON has everything" list $db --json -p
fails 2 "--names prints names only" list $db --names -H
