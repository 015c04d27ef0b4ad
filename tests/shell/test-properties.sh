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

# What came by another program can be removed, by any key.
cp disks odd
sqlite3 odd "INSERT INTO property VALUES (70, 1, 1, 'user:', 'x', 0),
  (71, 1, 1, 'user:a=b', 'x', 0), (72, 1, 1, 'user:a', 'x', 0),
  (73, 1, 1, 'user:b' || char (7) || 'c', 'x', 0)"
"$top_builddir/tests/seal" odd rows
has odd web user '{"":"x","a":"x","a b":"c=d","a=b":"x","owner":"ann","ümlaut":"ß"}'
sqlblock set odd web user:= --unset=user:a=b 2>out
grep -qx "disk 'web' has no user:a=b now" out || fail "set: $(cat out)"
sqlblock set -q odd web --unset=user:owner
sqlblock set -q odd web "user:b?c="
[ "$(query odd "SELECT count (*) FROM property WHERE id IN (70, 71, 73)")" = 0 ] ||
  fail "not all is removed"
has odd web user '{"a":"x","a b":"c=d","ümlaut":"ß"}'
fails 2 "give a PROPERTY=VALUE" set odd web
fails 2 "cannot be removed" set odd web --unset=id
fails 2 "missing behind" set odd web user:=x

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
sqlblock check disks >out 2>&1 || fail "check: $(cat out)"

# --- In streams -----------------------------------------------------------------

# version STREAM NUMBER
version ()
{
  [ "$(od -An -tu4 -j16 -N4 "$1" | tr -d ' ')" = "$2" ] ||
    fail "$1 is not of version $2"
}

# rows FILE: what is optional about disks and snapshots, by name.
rows ()
{
  sqlite3 "file:$1?immutable=1" "SELECT 'disk', key, typeof (value),
      quote (value) FROM property JOIN disk ON kind = 1 AND owner = disk.id
    UNION ALL SELECT snapshot.name, key, typeof (value), quote (value)
      FROM property JOIN snapshot ON kind = 2 AND owner = snapshot.id
    UNION ALL SELECT 'feature', feature.name, class, checksum =
      checksum FROM feature WHERE disk <> 0 ORDER BY 1, 2"
}

# What nobody knows goes along, too, and keeps its type; what is of the file or
# a hold does not.
rm -f disks*
sqlblock create -q disks web --size=4M
sqlblock snapshot create -q disks web@monday
sqlblock send -q disks web@monday >plain
version plain 1
sqlblock receive -q old <plain
[ "$(rows old)" = "" ] || fail "something came with a plain stream: $(rows old)"
sqlblock set -q disks web user:owner=ann
sqlblock set -q disks web@monday user:ticket=4711 description="a day"
sqlite3 disks "INSERT INTO property VALUES (50, 1, 1, 'color', x'00ff', 0),
  (51, 1, 1, 'number', -5, 0), (52, 2, 1, 'later', zeroblob (8192), 0),
  (53, 1, 1, 'local:x', 1, 0), (54, 2, 1, 'local:x', 1, 0),
  (55, 1, 1, 'id', 1, 0), (56, 2, 1, 'hold:x', 1, 0),
  (57, 1, 1, 'damaged', 1, 0), (58, 0, 0, 'file', 1, 0),
  (59, 1, 1, 'digits', '-5', 0), (60, 3, 1, 'layer', 1, 0);
  INSERT INTO feature VALUES (50, 'sound', 1, 1, 0)"
"$top_builddir/tests/seal" disks rows
sqlite3 disks "UPDATE property SET value = 2 WHERE id = 57"
"$top_builddir/tests/seal" disks
rows disks | grep -v "|local:\|^disk|id|\|^disk|damaged\|hold:" >wanted
[ "$(grep -c . wanted)" = 8 ] || fail "not all rows are there: $(cat wanted)"
sqlblock send -q disks web@monday >stream
version stream 2
sqlblock receive -q there <stream
rows there >found
diff wanted found || fail "a stream carries something else"
sqlblock check there >out 2>&1 || fail "check of there: $(cat out)"

# With what changed come those of the new snapshot; the disk's stay.
sqlblock set -q there web user:owner=bob
sqlblock set -q disks web user:more=x
sqlblock snapshot create -q disks web@tuesday
sqlblock send -q disks web@tuesday --from=monday >bare
version bare 2 # the feature
sqlblock set -q disks web@tuesday user:ticket=4712
sqlblock send -q disks web@tuesday --from=monday >changes
sqlblock receive -q there <changes
{
  sed "s/'ann'/'bob'/" wanted
  echo "tuesday|user:ticket|text|'4712'"
} | LC_ALL=C sort >expected
rows there | LC_ALL=C sort | diff expected - ||
  fail "what changed has brought something else"
rows disks >before
sqlblock send -q there web@tuesday >back
sqlblock receive -q disks again <back
has disks again user '{"owner":"bob"}'
[ "$(rows disks | grep -c "^feature|sound|1|1")" = 2 ] || fail "features"

# A stream that ends too early, or is refused, leaves nothing.
rows there >before
head -c 9000 stream >cut
for file in cut stream; do
  if sqlblock receive -q there web <$file 2>err; then
    fail "$file was received"
  fi
  rows there | diff before - || fail "$file has left something"
done

# Who does not know a feature that keeps him from writing takes it along.
sqlite3 disks "UPDATE feature SET class = 2 WHERE disk = 1"
"$top_builddir/tests/seal" disks rows
sqlblock send -q disks web@monday >stream
sqlblock receive -q kept <stream
rows kept >found
grep -qx "feature|sound|2|1" found || fail "the feature is lost: $(cat found)"
has kept web user '{"more":"x","owner":"ann"}'

# But not into a disk that he has, and could then not even delete.
sqlblock send -q disks web@tuesday --from=monday >changes
sqlblock list old --all --json >before
for option in "" --rollback; do
  # An option, or none.
  # shellcheck disable=SC2086
  if sqlblock receive -q old $option <changes 2>err; then
    fail "a disk cannot be written any more"
  fi
  grep -q "the feature 'sound', .* can only take whole" err ||
    fail "receive: $(cat err)"
done
sqlblock list old --all --json | diff before - || fail "old has changed"
sqlblock delete -q old web --snapshots
