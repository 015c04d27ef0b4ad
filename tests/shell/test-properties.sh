#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What people note of disks and snapshots, user:KEY=TEXT and descriptions: set,
# shown, and carried along.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need sqlite3 nbdkit nbdsh python3
PATH=$top_builddir/tool:$PATH
cd "$tmp" || exit 1

# ask EXPRESSION: of the JSON j on standard input.
ask ()
{
  python3 -c 'import json, sys
j = json.load(sys.stdin)
print(json.dumps(eval(sys.argv[1]), sort_keys=True, ensure_ascii=False,
                 separators=(",", ":")))' "$1"
}

# has FILE TARGET KEY TEXT: what "info --json" has there.
has ()
{
  local found
  found=$(sqlblock info "$1" "$2" --json | ask "j['$3']")
  [ "$found" = "$4" ] || fail "$1 $2 $3: $found, not $4"
}

sqlblock create -q disks web --size=4M --description="a disk"
sqlblock snapshot create -q disks web@monday
has disks web user '{}'
has disks web@monday description '""'

# --- Set and shown --------------------------------------------------------------

sqlblock set disks web user:owner=ann "user:a b=c=d" user:ümlaut=ß quota=1M \
  2>out
grep -qx "set user:owner=ann of disk 'web'" out || fail "set: $(cat out)"
sqlblock set disks web@monday user:ticket=4711 description="the first" 2>out
grep -qx "set user:ticket=4711 of snapshot 'web@monday'" out ||
  fail "set: $(cat out)"
has disks web user '{"a b":"c=d","owner":"ann","ümlaut":"ß"}'
has disks web description '"a disk"'
has disks web@monday user '{"ticket":"4711"}'
has disks web@monday description '"the first"'
sqlblock info disks web >out
grep -qx "user:owner:         ann" out || fail "info: $(cat out)"
sqlblock info disks web@monday >out
grep -qx "user:ticket:        4711" out || fail "info: $(cat out)"
grep -qx "description:        the first" out || fail "info: $(cat out)"
sqlblock list disks --all --json >out
[ "$(ask '[j["disks"][0]["user"]["owner"], j["snapshots"][0]["user"],
  j["snapshots"][0]["description"]]' <out)" = \
  '["ann",{"ticket":"4711"},"the first"]' ] || fail "list: $(cat out)"
[ "$(sqlblock snapshot list disks --json |
  ask 'j["snapshots"][0]["user"]')" = '{"ticket":"4711"}' ] ||
  fail "snapshot list"

sqlblock set disks web user:owner= 2>out
grep -qx "disk 'web' has no user:owner now" out || fail "set: $(cat out)"
sqlblock set -q disks web description=another
has disks web user '{"a b":"c=d","ümlaut":"ß"}'
has disks web description '"another"'
sqlblock describe -q disks web@monday "before it"
has disks web@monday description '"before it"'
sqlblock describe disks web@monday "" 2>out
grep -q "snapshot 'web@monday' has no description now" out || fail "$(cat out)"
has disks web@monday description '""'

# refused EXIT TEXT ARGUMENT...: set says no, and changes nothing.
refused ()
{
  local wanted=$1 text=$2 code=0
  shift 2
  sqlblock info disks web --json >before
  sqlblock set disks "$@" >out 2>&1 || code=$?
  [ "$code" = "$wanted" ] || fail "set $*: exit code $code: $(cat out)"
  grep -qF "$text" out || fail "set $*: $(cat out)"
  sqlblock info disks web --json | diff before - || fail "set $* did something"
}

refused 2 "is a snapshot" web@monday user:a=b quota=1G
refused 2 "was given twice" web user:a=b user:c=d user:a=e
refused 2 "was given twice" web description=b description=c
refused 2 "is missing behind" web user:=x
refused 2 "is no property" web user:x
refused 1 "must be UTF-8" web user:a=b user:c=$'d\n'
refused 3 "no snapshot 'sunday'" web@sunday user:a=b

# --- Beside a server ------------------------------------------------------------

nbdkit -U - "$plugin" disks --run 'sqlblock set -q disks web user:here=1 &&
  nbdsh -u "$uri" -c "h.pwrite (b\"x\" * 4096, 0)" &&
  sqlblock set -q disks web@monday user:here=2'
has disks web user '{"a b":"c=d","here":"1","ümlaut":"ß"}'
has disks web@monday user '{"here":"2","ticket":"4711"}'

# --- What other programs have said ----------------------------------------------

sqlite3 disks "INSERT INTO property VALUES (100, 1, 1, 'user:number', -5, 0),
  (101, 1, 1, 'user:bytes', x'0a1bff', 0), (102, 1, 1, 'user:bad', 'x', 0),
  (103, 1, 1, 'user:steer', char (27) || '[2J', 0),
  (104, 1, 1, 'user:' || char (27) || 'x', 'y', 0)"
"$top_builddir/tests/seal" disks rows
sqlite3 disks "UPDATE property SET value = 'y' WHERE id = 102"
"$top_builddir/tests/seal" disks
[ "$(sqlblock info disks web --json |
  ask '[j["user"][key] for key in ("number", "bytes", "bad", "steer")]')" = \
  "[-5,\"x'0a1bff'\",null,\"x'1b5b324a'\"]" ] || fail "others' properties"
sqlblock info disks web >out
grep -qx "user:bad:           ?" out || fail "info: $(cat out)"
! grep -q $'\e' out || fail "a terminal can be steered: $(cat -v out)"
sqlite3 disks "DELETE FROM property WHERE id BETWEEN 100 AND 110"
"$top_builddir/tests/seal" disks

# --- Carried along --------------------------------------------------------------

sqlblock set -q disks web@monday description="a day"
for target in web web@monday; do
  sqlblock info disks $target --json | ask 'j["user"]' >wanted.$target
done
sqlblock backup -q disks copied
sqlblock check disks --salvage=saved >out 2>&1 || fail "$(cat out)"
sqlblock clone -q disks web@monday clone
for file in copied saved; do
  for target in web web@monday; do
    sqlblock info $file $target --json | ask 'j["user"]' |
      diff wanted.$target - ||
      fail "$file has something else of $target"
  done
  has $file web@monday description '"a day"'
done
sqlblock info disks clone --json | ask 'j["user"]' | diff wanted.web - ||
  fail "a clone has something else"
sqlblock check disks 2>&1 | grep -q " 0 problems" || fail "check"
