#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What is set of a disk or of the database: set, shown and inherited by one verb
# each; what new disks take of it; and what a server that runs makes of it.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need sqlite3 nbdkit nbdsh python3
PATH=$top_builddir/tool:$PATH
cd "$tmp" || exit 1
unset SQLBLOCK_CONTROL

# is TARGET NAME VALUE SOURCE: what get says.
is ()
{
  local found
  found=$(sqlblock get disks "$1" "$2" -H -o value,source)
  [ "$found" = "$3"$'\t'"$4" ] || fail "$2 of $1 is $found, not $3 $4"
}

sqlblock create -q disks web --size=4M
is / compression lz4 default
is / auto-snapshot off default
is web keep all:1h,1h:1d,1d:30d default

# --- Set, shown and inherited ---------------------------------------------------

sqlblock set disks auto-snapshot=1h user:site=here 2>out
grep -qx "set auto-snapshot=1h of the database" out || fail "$(cat out)"
sqlblock set -q disks / keep=all:7d compression=zstd:3 dedup=on quota=1G
is / auto-snapshot 1h local
is / user:site here local
is / quota 1G local
is web auto-snapshot 1h inherited
is web compression lz4 local
is web user:site - -
sqlblock set -q disks web auto-snapshot=10m
is web auto-snapshot 10m local
is web keep all:7d inherited
sqlblock inherit disks web auto-snapshot compression 2>out
grep -qx "disk 'web' has no auto-snapshot of its own now" out || fail "$(cat out)"
grep -qx "disk 'web' has the compression of new disks now" out || fail "$(cat out)"
is web auto-snapshot 1h inherited
is web compression zstd:3 local
sqlblock inherit -q disks / auto-snapshot
is web auto-snapshot off default
sqlblock set -q disks auto-snapshot=1h

# Sizes, times and counts, exactly.
sqlblock snapshot create -q disks web@monday
sqlblock snapshot hold -q disks web@monday x
[ "$(sqlblock get disks web -Hp -o value size,snapshots,quota used)" = \
  $'4194304\n1\nnone\n0' ] || fail "get -p"
[ "$(sqlblock get disks web@monday holds type -H -o value | xargs)" = \
  "1 snapshot" ] || fail "get of a snapshot"
sqlblock get disks --json >out
python3 - <<'EOF'
import json
found = {p["property"]: p for p in json.load(open("out"))["properties"]}
assert found["quota"]["value"] == "1G" and found["quota"]["source"] == "local"
assert found["size"]["value"] > 0 and found["size"]["source"] is None
assert found["user:site"]["value"] == "here"
EOF
# What one has, the other need not have.
[ "$(sqlblock get disks web@monday snapshots quota block-size -H)" = "" ] ||
  fail "a snapshot has what it has not"

fails 2 "there is no property 'nonsense'" get disks web nonsense
fails 2 "there is no property ''" get disks web size,
fails 2 "can only be read: \"sqlblock resize\" changes it" set disks web size=1G
fails 2 "can only be read" set disks / used=1
fails 2 "is no property that can be set; give compression=..., dedup=..., " \
  set disks web id=x
fails 2 "is a snapshot" set disks web@monday keep=all:1d
fails 2 "is a snapshot" inherit disks web@monday keep
fails 2 "has no description" set disks / description=x
fails 2 "litestream, or user:KEY" inherit disks web size
fails 2 "neither off nor a span" set disks web auto-snapshot=often
fails 2 "is not a list of rules" set disks web keep=7d
fails 2 "was given twice" set disks web keep=all:1d keep=all:2d
fails 2 "was given twice" inherit disks web keep keep
fails 3 "there is no disk 'none'" inherit disks none keep
fails 3 "there is no disk 'none'" get disks none
fails 3 "there is no disk 'mail'" set disks mail quota=1G keep=all:1d

# A disk can have any name; one that is there is meant, if that can be.
sqlblock create -q disks keep=all:9d --size=1M
sqlblock set -q disks keep=all:9d quota=5M
is keep=all:9d quota 5M local
is / keep all:7d local
sqlblock set -q disks keep=all:9d
is / keep all:9d local
sqlblock set -q disks / keep=all:7d quota=1G
sqlblock delete -q disks keep=all:9d

# --- What new disks take ----------------------------------------------------------

sqlblock create -q disks created --size=1M
is created compression zstd:3 local
is created dedup on local
is created quota 1G local
sqlblock create -q disks said --size=1M --compression=none --quota=none
is said compression none local
is said quota none local
head -c 1000000 /dev/urandom >image
sqlblock import -q disks imported image
is imported compression zstd:3 local
is imported quota 1G local
sqlblock import -q disks said image --overwrite
is said compression none local
is said quota none local
sqlblock set -q disks web compression=lz4 dedup=off auto-snapshot=5m user:a=b
sqlblock clone -q disks web copy
is copy compression lz4 local
is copy dedup off local
is copy quota 1G local
is copy auto-snapshot 1h inherited
is copy user:a b local
sqlblock create -q other sent --size=1M
sqlblock set -q other sent auto-snapshot=1m
sqlblock snapshot create -q other sent@one
sqlblock send -q other sent@one | sqlblock receive -q disks
is sent compression zstd:3 local
is sent quota 1G local
is sent auto-snapshot 1h inherited
nbdkit -U - "$plugin" disks export=served size=1M --run true
is served compression zstd:3 local
is served quota 1G local
nbdkit -U - "$plugin" disks export=told size=1M dedup=false --run true
is told dedup off local

# Backups have all of it.
sqlblock backup -q disks copied
[ "$(sqlblock get copied / auto-snapshot keep compression dedup quota -H -o value |
  xargs)" = "1h all:7d zstd:3 on 1G" ] || fail "a backup has lost settings"
sqlblock check -q disks >/dev/null || fail "check"

# --- Damage, and what others have written --------------------------------------

cp disks odd
sqlite3 odd "UPDATE property SET value = 'best' WHERE key = 'default:compression';
  UPDATE property SET value = 5 WHERE key = 'local:keep'"
"$top_builddir/tests/seal" odd rows
fails 1 "the setting compression of the database is damaged" \
  create odd new --size=1M
fails 1 "the setting keep of the database is damaged" get odd
grep -q "keep *?" out || fail "get does not go on"
sqlblock create -q odd new --size=1M --compression=lz4 ||
  fail "what is said does not go before a damaged setting"
sqlblock inherit -q odd / compression
sqlblock create -q odd newer --size=1M
# A terminal cannot be steered.
sqlite3 odd "INSERT INTO property VALUES
  (900, 1, 1, 'user:x', char (27) || 'c', 0),
  (901, 0, 0, 'default:dedup' || char (27), 'x', 0)"
"$top_builddir/tests/seal" odd rows
sqlblock get odd web 2>/dev/null >out || :
grep -q "user:x *x'1b63'" out || fail "get: $(cat -v out)"
! grep -q $'\e' out || fail "a terminal can be steered"

# --- A server that runs -----------------------------------------------------------

# takes DISK COUNT: so many automatic snapshots are there.
takes ()
{
  [ "$(sqlblock snapshot list disks "$1" -H -o name 2>/dev/null |
    grep -c @auto-)" -ge "$2" ]
}

sqlblock inherit -q disks / auto-snapshot keep quota
sqlblock inherit -q disks web auto-snapshot
start_nbdkit s "$plugin" disks control="$tmp/control"
await_answer s
nbdsh -u "$(uri s web)" -c 'h.pwrite (b"w" * 4096, 0)'
sleep 1.5
! takes web 1 || fail "a snapshot without a schedule"
sqlblock set -q disks web auto-snapshot=1s keep=all:1h
wait_for takes web 1
! takes created 1 || fail "another disk has got a snapshot"
nbdsh -u "$(uri s web)" -c 'h.pwrite (b"x" * 4096, 0)'
wait_for takes web 2
# Through the server it is the same.
sqlblock set -q disks created auto-snapshot=1s --control="$tmp/control"
wait_for takes created 1
[ "$(sqlblock get disks created auto-snapshot -H -o value,source \
  --control="$tmp/control")" = $'1s\tlocal' ] || fail "get through a server"
sqlblock inherit -q disks created auto-snapshot --control="$tmp/control"
is created auto-snapshot off default
stop_nbdkit

# What the server was told goes first.
sqlblock set -q disks / auto-snapshot=1s
automatic ()
{
  sqlblock list disks --all --names | grep @auto- || :
}
automatic >before
[ -s before ] || fail "there is no history"
start_nbdkit s "$plugin" disks auto-snapshot=off
await_answer s
nbdsh -u "$(uri s web)" -c 'h.pwrite (b"y" * 4096, 0)'
sleep 2
stop_nbdkit
automatic | diff before - || fail "a server takes snapshots that is not to"
start_nbdkit s "$plugin" disks export=created
await_answer s
nbdsh -u "$(uri s created)" -c 'h.pwrite (b"z" * 4096, 0)'
wait_for takes created 2
stop_nbdkit
automatic | grep -v ^created@ | diff <(grep -v ^created@ before) - ||
  fail "a server has cared for what it does not serve"
sqlblock check disks >out 2>&1 || fail "check: $(cat out)"
