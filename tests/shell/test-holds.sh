#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A snapshot that is held stays, whatever is deleted, replaced or thinned out,
# until it is released.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need sqlite3 nbdkit nbdsh python3
PATH=$top_builddir/tool:$PATH
cd "$tmp" || exit 1

# ask EXPRESSION: of the JSON j on standard input.
ask ()
{
  python3 -c 'import json, sys
j = json.load(sys.stdin)
print(json.dumps(eval(sys.argv[1])))' "$1"
}

# names: all disks and snapshots.
names ()
{
  sqlblock list disks --all --names
}

# says EXIT TEXT ARGUMENT...: a command ends so and says so; unless that is 0,
# every snapshot is still there.
says ()
{
  local wanted=$1 text=$2 code=0
  shift 2
  names >before
  sqlblock "$@" >out 2>&1 || code=$?
  [ "$code" = "$wanted" ] || fail "$*: exit code $code: $(cat out)"
  grep -qF -- "$text" out || fail "$*: $(cat out)"
  [ "$wanted" = 0 ] || names | diff before - || fail "$* has deleted something"
}

# shows NAME BYTE: the first block.
shows ()
{
  nbdkit -r -U - "$plugin" disks --run "nbdsh -u 'nbd+unix:///$1?socket='\$unixsocket \
    -c 'assert h.pread(4096, 0) == bytes([$2]) * 4096'" || fail "$1 differs"
}

# write BYTE: to the disk web.
write ()
{
  nbdkit -U - "$plugin" disks --run "nbdsh -u 'nbd+unix:///web?socket='\$unixsocket \
    -c 'h.pwrite(bytes([$1]) * 4096, 0)'"
}

sqlblock create -q disks web --size=1M
for day in 1 2 3 4; do
  write $day
  sqlblock snapshot create -q disks web@$day
done
write 5

# --- Held and shown -------------------------------------------------------------

says 0 "snapshot 'web@2' is held by 'backup'" snapshot hold disks web@2 backup
says 0 "" snapshot hold disks web@2 "my script: x"
says 4 "snapshot 'web@2': it is held by 'backup' already" \
  snapshot hold disks web@2 backup
says 3 "it is held by: 'backup' 'my script: x'" \
  snapshot release disks web@2 other
says 3 "it is held by nobody" snapshot release disks web@3 backup
says 3 "has no snapshot '9'" snapshot hold disks web@9 backup
says 2 "is no snapshot" snapshot hold disks web backup
says 2 "is a time" snapshot hold disks web@9999-01-01 backup
says 2 "longer than" snapshot hold disks web@3 "$(printf '%.196d' 0)"
says 0 "" snapshot hold disks web@4 "$(printf '%.195d' 0)"
sqlblock snapshot release -q disks web@4 "$(printf '%.195d' 0)"

sqlblock info disks web@2 >out
grep -q "^held by:            backup, since 20" out || fail "info: $(cat out)"
sqlblock info disks web@2 --json >out
[ "$(ask 'sorted(j["holds"])' <out)" = '["backup", "my script: x"]' ] ||
  fail "info: $(cat out)"
[ "$(ask 'j["holds"]["backup"][:2] + j["holds"]["backup"][-1]' <out)" = \
  '"20Z"' ] || fail "info: $(cat out)"
sqlblock snapshot list disks >out
grep -q "^web@2 .* user  backup,my script: x\$" out || fail "list: $(cat out)"
grep -q "^web@3 .* user  -\$" out || fail "list: $(cat out)"
[ "$(sqlblock list disks --all --json |
  ask '[len(s["holds"]) for s in j["snapshots"]]')" = "[0, 2, 0, 0]" ] ||
  fail "list --json"

# --- Not deleted ----------------------------------------------------------------

# Not alone, not with others, first or last, and not with the disk.
held="snapshot 'web@2' is held by"
for dry in "" --dry-run; do
  # An option, or none.
  # shellcheck disable=SC2086
  {
    says 5 "$held" snapshot delete disks web@2 $dry
    says 5 "snapshot release DATABASE DISK@SNAPSHOT TAG" \
      snapshot delete disks web@2 $dry
    says 5 "$held" snapshot delete disks web@1 web@2 $dry
    says 5 "$held" snapshot delete disks web@2 web@3 $dry
    says 5 "$held" snapshot delete disks web --all $dry
    says 5 "$held" snapshot delete disks web@1..3 $dry
    says 5 "$held" delete disks web --snapshots $dry
    says 5 "$held" delete disks web --snapshots --force $dry
    says 4 "ask for all with --snapshots" delete disks web $dry
  }
done
says 0 "" snapshot delete disks web@1

# It is refused at once, not as for a reader who may go.
SECONDS=0
for _ in 1 2 3 4 5; do
  says 5 "$held" snapshot delete disks web@3 web@2
done
[ $SECONDS -lt 5 ] || fail "it waits for a hold"

# Nor is it lost by what makes the disk something else.
says 0 "" rollback disks web@3
says 0 "" rollback disks web@2
shows web 2
write 6
head -c 8192 /dev/zero | tr '\0' '\7' >image
truncate -s 1M image
says 0 "" import disks web image --overwrite
shows web 7
says 0 "" rename disks web@2 two
says 0 "" rename disks web@two 2
says 0 "" compact disks
says 0 "" set disks web dedup=on
says 0 "" recompress disks web
says 0 "" clone disks web@2 copy
says 0 "" flatten disks copy
says 0 "" delete disks copy
says 0 "" resize disks web 512K --shrink
says 0 "" resize disks web 1M
shows web@2 2
shows web@3 3
says 5 "$held" snapshot delete disks web@2

# Nor with its file, also under a server.
sqlblock create -q another web --size=1M
for option in --overwrite --force; do
  says 4 "disks is a database of sqlblock" export another web disks $option
done
says 0 "" export another web image --overwrite
nbdkit -U - "$plugin" disks --run \
  'sqlblock export another web disks --force' 2>out && fail "under a server"
grep -qF "disks is a database of sqlblock" out || fail "export: $(cat out)"
shows web@2 2

# Nor by what is received.
sqlblock snapshot create -q disks web@base
sqlblock send -q disks web@base >stream
sqlblock receive -q there <stream
write 8
sqlblock snapshot create -q disks web@5
sqlblock send -q disks web@5 --from=base >stream
sqlblock snapshot delete -q disks web@5
write 9
sqlblock snapshot create -q disks web@newer
sqlblock snapshot hold -q disks web@newer me
says 0 "" receive disks --rollback <stream
shows web 8
shows web@newer 9
shows web@2 2
says 5 "held by 'me'" snapshot delete disks web@newer
sqlblock snapshot release -q disks web@newer me
says 0 "" snapshot delete disks web@newer

# Nor by check, which copies it with its holds; clones and streams have none.
says 0 "" check disks --repair
sqlblock backup -q disks copied
sqlblock check disks --salvage=saved >/dev/null 2>&1
for file in copied saved; do
  if sqlblock delete $file web --snapshots >out 2>&1; then
    fail "$file has lost the hold"
  fi
  grep -qF "$held" out || fail "$file: $(cat out)"
done
sqlblock send -q disks web@2 >stream
sqlblock receive -q there second <stream
[ "$(sqlblock info there second@2 --json | ask 'j["holds"]')" = "{}" ] ||
  fail "a stream has brought holds"

# --- Damaged --------------------------------------------------------------------

cp disks good
sqlite3 disks "UPDATE property SET value = 'x', checksum = 5
  WHERE key LIKE 'hold:%'"
"$top_builddir/tests/seal" disks
says 5 "$held" snapshot delete disks web@2
says 5 "$held" delete disks web --snapshots --force
[ "$(sqlblock info disks web@2 --json | ask 'j["holds"]["backup"]')" = null ] ||
  fail "a damaged hold is not shown"
sqlblock info disks web@2 >out
grep -q "^held by:            backup, since ?" out || fail "info: $(cat out)"
says 0 "" snapshot release disks web@2 backup
says 5 "$held 'my script: x'" snapshot delete disks web@2
cp good disks

# Where properties cannot be read, all else is shown and read; but nothing is
# deleted that may be held.
for page in $(sqlite3 disks "SELECT rootpage FROM sqlite_schema
  WHERE tbl_name = 'property'"); do
  printf damaged | dd of=disks bs=1 seek=$((page * 4096 - 2000)) conv=notrunc \
    status=none
done
shows web@2 2
shows web@3 3
says 1 "guid:" info disks web@2
says 1 "dedup:" info disks web
says 1 "web@2 " snapshot list disks
says 1 '"web"' list disks --json
for target in web@2 web@3; do
  says 1 "damaged" snapshot delete disks $target
done
says 1 "damaged" delete disks web --snapshots --force
# A server goes on to take snapshots.
start_nbdkit torn "$plugin" disks export=web auto-snapshot=1s
for try in $(seq 30); do
  nbdsh -u "$(uri torn web)" -c "h.pwrite(bytes([$try]) * 4096, 0)"
  names >found
  ! grep -q auto- found || break
  sleep 0.5
done
stop_nbdkit
grep -q auto- found || fail "no snapshot was taken: $(cat found torn.log)"
cp good disks

# --- A server's history ---------------------------------------------------------

start_nbdkit server "$plugin" disks export=web auto-snapshot=1s keep=all:2s
fill ()
{
  nbdsh -u "$(uri server web)" -c "h.pwrite(bytes([$1]) * 4096, 0)"
  sleep 1.1
}
automatic ()
{
  sqlblock snapshot list disks --json |
    ask '" ".join(s["snapshot"] for s in j["snapshots"] if s["automatic"])' |
    tr -d '"'
}
# until_automatic WORDS...: write until this holds of what the server has made.
byte=20
until_automatic ()
{
  local try
  for try in $(seq 40); do
    fill $((byte++ % 200))
    automatic >found
    ! "$@" || return 0
  done
  fail "after $try seconds not $*: $(cat found)"
}
any ()
{
  grep -q auto found
}
# At least eight were made since, and few of them are left.
thinned_out ()
{
  [ $((byte - began)) -ge 8 ] && [ "$(wc -w <found)" -le 5 ]
}
gone ()
{
  ! grep -qF "$kept" found
}
until_automatic any
read -r kept _ <found
sqlblock snapshot hold disks "web@$kept" me
began=$byte
until_automatic thinned_out
! gone || fail "what is held was thinned out: $(cat found)"
sqlblock snapshot release disks "web@$kept" me
until_automatic gone
stop_nbdkit
grep -i "history" server.log && fail "the server complains" || :

# --- Released -------------------------------------------------------------------

says 0 "is no longer held by 'backup'" snapshot release disks web@2 backup
says 5 "$held 'my script: x'" snapshot delete disks web@2
says 0 "" snapshot release disks web@2 "my script: x"
says 0 "" snapshot delete disks web@2
says 0 "" delete disks web --snapshots
[ "$(sqlite3 disks "SELECT count (*) FROM property WHERE kind = 2")" = 0 ] ||
  fail "properties are left"
sqlblock check disks >out 2>&1 || fail "check: $(cat out)"

# --- Of another program ---------------------------------------------------------

# By any tag, as it is printed; what is printed so and can be typed goes first.
# The highest id that there can be leaves room for others.
cp good disks
sqlite3 disks "DELETE FROM property WHERE kind = 2;
  INSERT INTO property VALUES (9223372036854775807, 2, 2, 'hold:a?c', 5, 0),
    (71, 2, 2, 'hold:a' || char (7) || 'c', 5, 0),
    (72, 2, 2, CAST (x'686f6c643a64ff66' AS TEXT), 5, 0),
    (73, 2, 2, CAST (x'686f6c643a670068' AS TEXT), 5, 0),
    (74, 2, 2, 'hold:', 5, 0), (75, 2, 2, 'hold:' || printf ('%.300d', 0), 5, 0),
    (76, 2, 2, 'hold:i' || char (10) || 'j', 5, 0)"
"$top_builddir/tests/seal" disks rows
left ()
{
  query disks "SELECT count (*) FROM property WHERE kind = 2"
}
says 3 "it is not held by 'b?c'" snapshot release disks web@2 "b?c"
says 3 "it is not held by 'a?'" snapshot release disks web@2 "a?"
says 3 "it is not held by '???'" snapshot release disks web@2 "???"
[ "$(left)" = 7 ] || fail "one was released"
says 0 "" snapshot release disks web@2 "a?c"
[ "$(query disks "SELECT count (*) FROM property WHERE key = 'hold:a?c'")" = 0 ] ||
  fail "another one was released"
says 0 "" snapshot release disks web@2 "a?c"
says 0 "" snapshot release disks web@2 $'i\nj'
says 0 "" snapshot release disks web@2 "d?f"
says 0 "" snapshot release disks web@2 g
says 0 "" snapshot release disks web@2 ""
says 5 "is held by '000" snapshot delete disks web@2
says 0 "" snapshot release disks web@2 "$(printf '%.300d' 0)"
[ "$(left)" = 0 ] || fail "not all were released"
sqlite3 disks "INSERT INTO property
  VALUES (9223372036854775807, 1, 1, 'other', 5, 0)"
"$top_builddir/tests/seal" disks rows
says 0 "" snapshot hold disks web@2 backup
says 0 "" set disks web user:a=b
says 0 "" clone disks web copy
sqlblock check disks >out || [ "$(grep -c "^[a-z]*:" out)" = 0 ] ||
  fail "check: $(cat out)"
says 0 "" snapshot release disks web@2 backup
says 0 "" snapshot delete disks web@2
