#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Groups: patterns and ranges name disks and snapshots, what is called just so
# is that, and all changes of a command are made or none, at one instant, beside
# a server and through it, and if it is killed.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3
PATH=$top_builddir/tool:$PATH
cd "$tmp" || exit 1
unset SQLBLOCK_CONTROL

# names: all disks and snapshots.
names ()
{
  sqlblock list disks --all --names
}

# refuses CODE TEXT ARGUMENT...: and changes nothing.
refuses ()
{
  names >before
  fails "$@"
  names | diff before - || fail "changed something: $*"
}

# means WORD... : what the rest of the command line "would" change.
means ()
{
  local wanted=$1
  shift
  sqlblock "$@" --dry-run >out || fail "$*: exit code $?"
  [ "$(grep -o "'[^']*'" out | tr -d "'" | xargs -d '\n')" = "$wanted" ] ||
    fail "$* means $(cat out)"
}

for disk in web web2 db ümlaut 'w[1]' 'a*' 'a*b' '50%' 'b\c'; do
  sqlblock create -q disks "$disk" --size=1M
done
sqlblock snapshot create -q disks --all @s1
sqlblock snapshot create -q disks --all @s2
sqlblock snapshot create -q disks --all @s3
sqlblock snapshot create -q disks web@auto-1 web2@auto-1
for name in 's*' 'a%b' x..y; do
  sqlblock snapshot create -q disks "web@$name"
done

# --- What a pattern means -------------------------------------------------------

delete="snapshot delete disks"
# Lists of words.
# shellcheck disable=SC2086
{
  means "web@auto-1 web2@auto-1" $delete 'w*@auto-*'
  means "web@s1 web@s2 web@s3" $delete 'web@s[1-9]'
  means "web@s3" $delete 'web@s[!12*]'
  means "web@s1 web@s2" $delete 'web@s1%s2'
  means "web@s2 web@s3 web@auto-1 web@s* web@a%b web@x..y" $delete 'web@s2%'
  means "web@s1" $delete 'web@%s1'
  means "web2@s1 web2@s2" $delete 'we?2@s1%s2'
  means "web@s1 web2@s1" $delete web@s1 'web*@s1' web2@s1
  # What is called just so is that.
  means "web@s*" $delete 'web@s*'
  means "web@a%b" $delete 'web@a%b'
  means "web@x..y" $delete web@x..y
  means "a*@s1" $delete 'a*@s1'
  means "w[1]@s1" $delete 'w[1]@s1'
  means "50%@s1 50%@s2" $delete '50%@s1%s2'
  means 'b\c@s1' $delete 'b\c@s1'
  # A backslash.
  means "a*b@s1" $delete 'a\*?@s1'
  means "w[1]@s2" $delete 'w\[?]@s2'
  # Characters, not bytes, in any locale.
  LC_ALL=C means "ümlaut@s1" $delete '?mlaut@s1'
  means "ümlaut@s1" $delete '[ä-ü]mlaut@s1'
  means "web@new web2@new" snapshot create disks 'web*@new'
  means "a*@new" snapshot create disks 'a*@new'
  refuses 3 "no snapshot fits the pattern 'web*@z*'" $delete 'web*@z*'
  refuses 3 "no disk fits the pattern 'z*'" $delete 'z*@s1'
  refuses 3 "has no snapshot 's9'" $delete 'web@s1%s9'
  refuses 3 "has no snapshot 's9'" $delete web@s9
  refuses 3 "has no snapshot 'x'" $delete 'web@s1' web@x
  refuses 1 "is older than" $delete 'web@s3%s1'
  refuses 2 "range without ends" $delete 'web@%'
  refuses 2 "range without ends" $delete web@..
  refuses 2 "is a time" $delete 'web@s1%2026-11-22'
  refuses 2 "is no snapshot" $delete '*'
}
refuses 3 "no disk fits the pattern 'q?'" delete disks 'q?'
refuses 4 "has 7 snapshots" delete disks 'w*' db
refuses 3 "no disk fits the pattern" snapshot create disks 'q*@s9'
refuses 4 "a snapshot 's1'" snapshot create disks '*@s1'
# What has "%" or ".." in its name and can be a range is neither.
sqlblock snapshot create -q disks web@'s1%s2'
refuses 1 "can mean several things" snapshot delete disks 'web@s1%s2'
sqlblock snapshot delete -q disks 'web@s1[%]s2'
# As the manual has a script write a name that it does not know.
sqlblock create -q disks 'o*?[%\..]' --size=1M
sqlblock snapshot create -q disks 'o[*][?][[][%][\\][.][.]]@a%\*b'
refuses 3 "no disk fits the pattern" delete disks '[*][?][[][%][\\][.][.]]'
sqlblock snapshot delete -q disks 'o[*][?][[][%][\\][.][.]]@a[%][\\][*]b'
sqlblock delete -q disks 'o[*][?][[][%][\\][.][.]]'

# A pattern that takes long for a fool.
long=$(printf 'a%.0s' $(seq 190))
sqlblock snapshot create -q disks "db@$long"
timeout 10 bash -c "'$top_builddir/tool/sqlblock' snapshot delete disks \
  'db@$(printf '*a%.0s' $(seq 95))b' 2>/dev/null" && fail "it fits"
[ $? != 124 ] || fail "a pattern takes for ever"
sqlblock snapshot delete -q disks "db@a*a"

# --- Holds ------------------------------------------------------------------------

means "web@s1 backup web@s2 backup" snapshot hold disks 'web@s1%s2' backup
sqlblock snapshot hold disks 'web@s1%s2' db@s1 backup 2>out
[ "$(grep -c "is held by 'backup'" out)" = 3 ] || fail "hold: $(cat out)"
refuses 4 "is held by 'backup' already" snapshot hold disks 'web2@s*' web@s1 \
  backup
refuses 3 "is not held by 'backup'" snapshot release disks 'web@s1%s3' backup
[ "$(sqlblock get disks web2@s1 holds -H -o value)" = 0 ] || fail "one is held"
refuses 5 "is held by 'backup'" snapshot delete disks '*@s2'
refuses 5 "is held by 'backup'" delete disks 'w*' --snapshots
sqlblock snapshot release -q disks 'web@s1%s2' db@s1 backup

# --- Roll back and clone at one instant ---------------------------------------------

# write DISK BYTE
write ()
{
  nbdkit -U - "$plugin" disks --run "nbdsh -u 'nbd+unix:///$1?socket='\$unixsocket \
    -c 'h.pwrite(bytes([$2]) * 4096, 0)'"
}
# shows NAME BYTE: the first block.
shows ()
{
  nbdkit -r -U - "$plugin" disks --run "nbdsh -u 'nbd+unix:///$1?socket='\$unixsocket \
    -c 'assert h.pread(4096, 0) == bytes([$2]) * 4096'" || fail "$1 differs"
}
write web 1
write db 1
sqlblock snapshot create -q disks web@one db@one
write web 2
write db 2
sqlblock rollback disks web@one db@one -n >out
grep -q "would roll back disk 'db' to 'db@one'" out || fail "$(cat out)"
shows web 2
refuses 3 "has no snapshot 'none'" rollback disks web@one db@none
refuses 2 "roll back to what" rollback disks web@one db
refuses 3 "disk 'web2' has no snapshot 'one'" rollback disks '*@one'
refuses 1 "name each once" rollback disks web@one web@s1
refuses 1 "are several snapshots" rollback disks 'web@s?'
shows web 2
sqlblock rollback -q disks web@one db@one
shows web 1
shows db 1
write web 3
write db 3
means "c1 web c2 db" clone disks web c1 db c2
refuses 4 "there is a disk 'web2' already" clone disks web c1 db web2
refuses 2 "has no name behind it" clone disks web c1 db
refuses 2 "two clones" clone disks web c1 db c1
refuses 2 "the name of a disk" clone disks web c1 @one c2
refuses 2 "NAME is empty" clone disks web c1 "" c2
refuses 3 "no disk 'none'" clone disks web c1 none c2
sqlblock clone -q disks web c1 db@one c2
shows c1 3
shows c2 1
sqlblock delete disks 'c?' 2>out
[ "$(grep -c "^deleted disk 'c" out)" = 2 ] || fail "delete: $(cat out)"

# --- Beside a server, and through it -----------------------------------------------

start_nbdkit s "$plugin" disks control="$tmp/control"
await_answer s
nbdsh -u "$(uri s web2)" -c 'h.pwrite(b"x" * 4096, 0)
open("ready", "w")
import time
while True: time.sleep(1)' 2>/dev/null &
client=$!
started_pids+=("$client")
wait_for test -e ready
for through in "" --control="$tmp/control"; do
  # Nothing, or an option.
  # shellcheck disable=SC2086
  {
    refuses 5 "disk 'web2'" rollback disks db@one web2@s1 $through
    shows db 3
    refuses 5 "disk 'web2'" delete disks 'w*' --snapshots $through
    sqlblock clone -q disks web2 c1 db c2 $through
    sqlblock delete -q disks 'c?' $through
    sqlblock snapshot create -q disks 'web*@beside' $through
    sqlblock snapshot hold -q disks 'web*@beside' x $through
    refuses 5 "is held" snapshot delete disks '*@beside' $through
    sqlblock snapshot release -q disks '*@beside' x $through
    sqlblock snapshot delete -q disks '*@beside' $through
  }
done
sqlblock rollback -q disks db@one web2@s1 --force --control="$tmp/control"
kill -9 "$client"
stop_nbdkit
shows db 1
shows web2 0

# --- Many; and killed ----------------------------------------------------------------

python3 - <<'EOF'
import subprocess
names = ["m%d" % i for i in range(300)]
pairs = [word for name in names for word in ("web", name)]
subprocess.run(["sqlblock", "clone", "-q", "disks", *pairs], check=True)
subprocess.run(["sqlblock", "snapshot", "create", "-q", "disks", "m*@a"],
               check=True)
EOF
[ "$(names | grep -c '^m[0-9]*$')" = 300 ] || fail "not all clones are there"
for delay in 0.01 0.02 0.04 0.08 0.16; do
  sqlblock rollback -q disks 'm*@a' &
  pid=$!
  started_pids+=("$pid")
  sleep "$delay"
  kill -9 "$pid" 2>/dev/null || :
  wait "$pid" 2>/dev/null || :
  # All are in the same epoch.  A copy, since others must not move the log.
  rm -rf copy
  mkdir copy
  cp disks* copy
  [ "$(query copy/disks "SELECT count (DISTINCT epoch) FROM disk
    WHERE name GLOB 'm*'")" = 1 ] || fail "some are rolled back, others not"
done
for delay in 0.01 0.02 0.04 0.08 0.16; do
  sqlblock delete -q disks 'm*' --snapshots --no-reclaim 2>/dev/null &
  pid=$!
  started_pids+=("$pid")
  sleep "$delay"
  kill -9 "$pid" 2>/dev/null || :
  wait "$pid" 2>/dev/null || :
  left=$(names | grep -c '^m[0-9]*$') || :
  [ "$left" = 300 ] || [ "$left" = 0 ] || fail "$left of 300 are left"
  [ "$left" = 300 ] || break
done
[ "$left" = 0 ] || sqlblock delete -q disks 'm*' --snapshots
# More than can be kept from servers at once.
python3 - <<'EOF'
import subprocess
pairs = [word for i in range(501) for word in ("web", "n%d" % i)]
subprocess.run(["sqlblock", "clone", "-q", "disks", *pairs], check=True)
EOF
refuses 1 "at most 500" delete disks 'n*'
sqlblock delete -q disks 'n[0-3]*'
sqlblock delete -q disks 'n*'
sqlblock check disks >out 2>&1 || fail "check: $(cat out)"
