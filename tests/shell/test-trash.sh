#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Disks that are deleted go to the trash where that was asked for, come back
# from there, and go for good: by commands, beside a server and through one.

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

# says EXIT TEXT ARGUMENT...: a command ends so and says so.
says ()
{
  local wanted=$1 text=$2 code=0
  shift 2
  sqlblock "$@" >out 2>&1 || code=$?
  [ "$code" = "$wanted" ] || fail "$*: exit code $code: $(cat out)"
  grep -qF -- "$text" out || fail "$*: $(cat out)"
}

# write DISK BYTE, shows NAME BYTE: the first block.
write ()
{
  nbdkit -U - "$plugin" disks --run "nbdsh -u 'nbd+unix:///$1?socket='\$unixsocket \
    -c 'h.pwrite(bytes([$2]) * 4096, 0)'"
}
shows ()
{
  nbdkit -r -U - "$plugin" disks --run "nbdsh -u 'nbd+unix:///$1?socket='\$unixsocket \
    -c 'assert h.pread(4096, 0) == bytes([$2]) * 4096'" || fail "$1 differs"
}

# there NAMES: the disks, and then the trash.
there ()
{
  local is
  is=$(sqlblock list disks --names | sort | tr '\n' ' ')
  is+="| $(sqlblock trash list disks -H -o name -s name | tr '\n' ' ')"
  [ "$is" = "$1" ] || fail "not '$1' but '$is'"
}

sqlblock create -q disks web --size=1M
write web 1
sqlblock snapshot create -q disks web@monday
write web 2
sqlblock create -q disks mail --size=1M
sqlblock clone -q disks web@monday copy

# --- To and fro -------------------------------------------------------------

# Where nobody has asked for it there is none.
says 0 "deleted disk 'mail'" delete disks mail
there "copy web | "
sqlblock set -q disks trash=7d
sqlblock create -q disks mail --size=1M
says 4 "ask for all with --snapshots" delete disks web
says 0 "would move disk 'web' and its snapshots to the trash until" \
  delete disks web --snapshots --dry-run
there "copy mail web | "
says 0 "moved disk 'web' and its snapshots to the trash until" \
  delete disks web --snapshots
there "copy mail | web "
shows copy 1
says 3 "there is no disk 'web'" info disks web
says 3 "there is no disk" send disks web@monday
[ "$(sqlblock snapshot list disks -H | wc -l)" = 0 ] || fail "snapshot list"
sqlblock info disks >out
grep -q "^in trash: *1 disk" out || fail "info"
[ "$(sqlblock info disks --json | ask 'j["trash"]')" = 1 ] || fail "info --json"
sqlblock list disks >out 2>&1
grep -q "^in the trash: 1 disk" out || fail "list"
sqlblock trash list disks --json --usage >out
[ "$(ask '[(d["name"], d["id"], d["snapshots"], d["size"],
            d["frees"] > 0) for d in j["trash"]]' <out)" = \
  '[["web", 1, 1, 1048576, true]]' ] || fail "trash list: $(cat out)"

# Nobody serves it, by its own name or by another one.
for name in web trash/1 web@monday trash/1@monday; do
  ! nbdkit -r -U - "$plugin" disks --run "nbdsh -u \
    'nbd+unix:///$name?socket='\$unixsocket -c 'h.pread(1, 0)'" 2>err ||
    fail "$name is served"
done
nbdkit -U - "$plugin" disks --run 'nbdinfo --list "$uri"' >out 2>&1
! grep -q trash out || fail "it is offered"

# Check, a backup, and what salvage finds, have it.
says 0 "" check disks
says 0 "" backup disks kept
[ "$(sqlblock trash list kept -H -o name,id,snapshots)" = "web	1	1" ] ||
  fail "backup"
sqlblock undelete -q kept web
sqlblock check -q kept
says 0 "" check disks --salvage=saved
[ "$(sqlblock trash list saved -H -o name,snapshots)" = "web	1" ] ||
  fail "salvage: $(sqlblock trash list saved; cat out)"
says 0 "" undelete saved web

says 0 "would take disk 'web' (number 1" undelete disks web -n
says 3 "the trash has no such disk 'mail'; there are: 'web'" \
  undelete disks mail
sqlblock create -q disks web --size=1M
says 4 "there is a disk 'web' again" undelete disks web
says 4 "there is a disk 'mail' already" undelete disks web mail
says 2 "" undelete disks web a/b
says 0 "as 'old'" undelete disks web old
shows old 2
shows old@monday 1
there "copy mail old web | "

# Several of one name; the newest by a time.
says 0 "moved disk 'web' to" delete disks web
says 0 "" rename disks old web
sleep 1.1
says 0 "" delete disks web --snapshots
says 1 "which one?" undelete disks web
says 3 "" undelete disks web --deleted=2020-01-01
says 2 "is no time" undelete disks web --deleted=yesterday
says 2 "is no number" undelete disks web --id=x
says 0 "(number 1," undelete disks web --deleted=2999-01-01
shows web 2
says 0 "" delete disks web --snapshots
says 0 "" undelete disks web --id=1
shows web 2

# --- For good ---------------------------------------------------------------

there "copy mail web | web "
says 0 "there is nothing" trash empty disks --older=1h
says 0 "there is nothing" trash empty disks --expired
says 3 "the trash has no such disk 'mail'" trash empty disks mail
says 2 "is no span" trash empty disks --older=x
says 0 "would delete disk 'web'" trash empty disks -n
there "copy mail web | web "
says 0 "deleted disk 'web'" trash empty disks
there "copy mail web | "
says 0 "deleted disk 'mail'" delete disks mail --now
# A disk's own setting goes first.
sqlblock create -q disks tmp --size=1M
sqlblock set -q disks tmp trash=off
says 0 "deleted disk 'tmp'" delete disks tmp
sqlblock set -q disks copy trash=1s
says 0 "moved disk 'copy'" delete disks copy
sleep 1.1
says 0 "deleted disk 'copy'" trash empty disks --expired

# Several at once, some of them for good.
for name in g1 g2 g3; do
  sqlblock create -q disks $name --size=1M
done
sqlblock set -q disks g2 trash=off
says 0 "would delete disk 'g2'" delete disks g1 g2 g3 -n
says 0 "would move disk 'g1' to the trash" delete disks g1 g2 g3 -n
there "g1 g2 g3 web | "
says 0 "moved disk 'g3' to the trash" delete disks 'g*'
there "web | g1 g3 "
says 0 "deleted disk 'g1'" trash empty disks g1
says 0 "" undelete disks g3
says 0 "deleted disk 'g3'" delete disks g3 --now

# Killed at whatever moment, it is there or in the trash, with all that it has,
# and deleted for good only where that was asked for.
sqlblock snapshot create -q disks web@kill
for i in {1..12}; do
  sqlblock delete -q disks web --snapshots 2>/dev/null &
  pid=$!
  sleep "0.0$i"
  kill -9 $pid 2>/dev/null || :
  wait $pid 2>/dev/null || :
  if sqlblock info disks web >/dev/null 2>&1; then
    there "web | "
  else
    there "| web "
    sqlblock undelete disks web 2>/dev/null &
    pid=$!
    sleep "0.0$i"
    kill -9 $pid 2>/dev/null || :
    wait $pid 2>/dev/null || :
    sqlblock undelete -q disks web 2>/dev/null || there "web | "
  fi
done
shows web 2
shows web@kill 2
sqlblock check -q disks

# What is held stays.
sqlblock snapshot hold -q disks web@monday backup
says 5 "is held by 'backup'" delete disks web --snapshots
there "web | "
sqlblock snapshot release -q disks web@monday backup

# --- A server ---------------------------------------------------------------

sqlblock set -q disks web trash=2s
start_nbdkit socket "$plugin" "$tmp/disks" control="$tmp/control"
await_answer socket
nbdsh -u "nbd+unix:///web?socket=$tmp/socket" -c '
import subprocess
def run (*words):
    return subprocess.run(["sqlblock", *words], capture_output=True, text=True)
r = run("delete", "disks", "web", "--snapshots")
assert r.returncode == 5, r
r = run("delete", "disks", "web", "--snapshots", "--force")
assert r.returncode == 0 and "moved" in r.stderr, r
try:
    h.pwrite(bytes(512), 0)
    assert False, "it can still be written"
except nbd.Error:
    pass
' || fail "beside a server"
there "| web "
# It goes when its time is over.
for _ in {1..300}; do
  [ -n "$(sqlblock trash list disks -H)" ] || break
  sleep 0.1
done
there "| "
grep -q "deleted disk 'web' (number 1) for good" socket.log ||
  fail "the log: $(cat socket.log)"
export SQLBLOCK_CONTROL=$tmp/control
sqlblock create -q disks one --size=1M
says 0 "moved disk 'one'" delete disks one
[ "$(sqlblock trash list disks -H -o name)" = one ] || fail "control: list"
says 0 "would take" undelete disks one two -n
says 0 "as 'two'" undelete disks one two
says 0 "would move disk 'two'" delete disks two -n
says 0 "" delete disks two
says 0 "deleted disk 'two'" trash empty disks
unset SQLBLOCK_CONTROL
sqlblock check -q disks

# --- Names from elsewhere -----------------------------------------------------

sqlblock create -q disks $'\xc3\xa9 x' --size=1M
says 0 "" delete disks $'\xc3\xa9 x'
[ "$(sqlblock --complete undelete disks '' | cut -f1)" = $'\xc3\xa9 x' ] ||
  fail "completion: $(sqlblock --complete undelete disks '')"
says 0 "" undelete disks $'\xc3\xa9 x'
