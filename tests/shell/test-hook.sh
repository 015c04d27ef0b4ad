#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# snapshot-hook=: a program around automatic snapshots that has a client write
# what it holds back, as fsfreeze in a guest does; one that fails; one that
# hangs, and is killed with what it has started; and one that hangs when the
# server is to end.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh nbdcopy python3 ps
PATH=$top_builddir/tool:$PATH

cd "$tmp"
db=$tmp/disks.sqlite
sqlblock create "$db" "a disk" --size=1M

# The hook: it does what the file "how" says, and writes down what it was told.
cat >hook <<'EOF2'
#!/bin/bash
cd "${0%/*}" || exit
{
  echo "$# $1 $2 $3"
  echo "$SQLBLOCK_EVENT $SQLBLOCK_DISK $SQLBLOCK_SNAPSHOT $SQLBLOCK_RESULT"
  echo "$SQLBLOCK_DATABASE"
} >>calls
ls -l /proc/$$/fd >descriptors
echo "this is printed"
[ ! -e how ] || . ./how "$@"
exit 0
EOF2
chmod +x hook

snapshots ()
{
  sqlblock snapshot list "$db" "a disk" --json |
    python3 -c 'import json, sys
for snapshot in json.load(sys.stdin)["snapshots"]:
    print(snapshot["snapshot"], snapshot["description"] or "", sep="\t")'
}

# change_disk TEXT: write it to the disk.
change_disk ()
{
  nbdsh -u "$(uri s "a%20disk")" -c "h.pwrite(b'$1'.ljust(512), 0)"
}

has_at_least ()
{
  [ "$(snapshots | wc -l)" -ge "$1" ]
}

is_called ()
{
  grep -q "$1" calls 2>/dev/null
}

# Nobody may have looked after it yet.
sleeper_is_gone ()
{
  local state
  state=$(ps -o state= -p "$(cat sleeper)") || return 0
  [ "$state" = Z ]
}

# logged TEXT: it is in the log of the server.
logged ()
{
  grep -qF -- "$1" s.log
}

expect_error "snapshot-hook=" nbdkit "$plugin" "$db" snapshot-hook=nothing \
  auto-snapshot=1s --run true
touch no-program
expect_error "Permission denied" nbdkit "$plugin" "$db" \
  snapshot-hook=no-program auto-snapshot=1s --run true
expect_error "is no program" nbdkit "$plugin" "$db" snapshot-hook=. \
  auto-snapshot=1s --run true
expect_error "give snapshot-hook=" nbdkit "$plugin" "$db" \
  snapshot-hook-timeout=1s auto-snapshot=1s --run true
expect_error "not a span" nbdkit "$plugin" "$db" snapshot-hook=hook \
  snapshot-hook-timeout=0s auto-snapshot=1s --run true

# What a database says of it is no setting, so it runs nothing.
fails 2 "" set "$db" "a disk" snapshot-hook="$tmp/hook"

# It is called around each snapshot, which has what the client wrote meanwhile.
# What the server itself has of these names is not passed on.
SQLBLOCK_DISK=other SQLBLOCK_RESULT=mine start_nbdkit s "$plugin" "$db" auto-snapshot=1s keep=all:ever \
  snapshot-hook=hook
change_disk first
wait_for is_called "^3 after"
sleep 1.5
cat >how <<'EOF2'
[ "$1" = before ] && text=frozen || text=thawed
nbdsh -u "nbd+unix:///a%20disk?socket=s" -c "h.pwrite(b'$text'.ljust(512), 0)"
# Once only: what is written after the snapshot is a change, too.
[ "$1" = before ] || rm how
EOF2
rm calls
change_disk running
wait_for test ! -e how
name=$(sed -n '1s/3 before a disk //p' calls)
[ "$(sed -n 1,6p calls)" = "3 before a disk $name
before a disk $name 
$db
3 after a disk $name
after a disk $name taken
$db" ] || fail "the hook was told: $(cat calls)"
nbdcopy "$(uri s "a%20disk@$name")" image
[ "$(head -c 6 image)" = frozen ] || fail "the snapshot: $(head -c 20 image)"
logged "this is printed" || fail "nothing of what it printed is in the log"
snapshots | grep -qx "$name	" || fail "a description: $(snapshots)"
# It has its standard descriptors, and those of bash.
if grep -q "disks.sqlite\|socket:" descriptors; then
  fail "it has a descriptor of the server: $(cat descriptors)"
fi
kill_nbdkit

# One that fails: the snapshot is taken, and says so.
echo 'exit 3' >how
rm calls
start_nbdkit s "$plugin" "$db" auto-snapshot=1s keep=all:ever \
  snapshot-hook=hook
count=$(snapshots | wc -l)
change_disk failing
wait_for is_called "^3 after"
wait_for has_at_least $((count + 1))
snapshots | tail -n 1 | grep -q "as after a crash: the snapshot-hook" ||
  fail "no description: $(snapshots)"
logged "hook before': its exit status is 3" || fail "$(cat s.log)"
kill_nbdkit

# The same where whoever has started the server ignores SIGCHLD.
echo 'exit 4' >how
rm calls
nbdkit ()
{
  exec python3 -c 'import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execvp("nbdkit", ["nbdkit"] + sys.argv[1:])' "$@"
}
start_nbdkit s "$plugin" "$db" auto-snapshot=1s keep=all:ever \
  snapshot-hook=hook
unset -f nbdkit
change_disk ignoring
wait_for is_called "^3 after"
logged "hook before': its exit status is 4" || fail "$(cat s.log)"
kill_nbdkit

# One that hangs, with a process of its own: both are killed, requests go on.
cat >how <<'EOF2'
[ "$1" = before ] || exit 0
sleep 1000 &
echo $! >sleeper
wait
EOF2
rm calls
start_nbdkit s "$plugin" "$db" auto-snapshot=1s keep=all:ever \
  snapshot-hook=hook snapshot-hook-timeout=5s
count=$(snapshots | wc -l)
change_disk hanging
wait_for test -s sleeper
nbdsh -u "$(uri s "a%20disk")" -c 'for i in range(100): h.pwrite(bytes(512), 0)'
! is_called "^3 after" || fail "it was killed too early"
wait_for is_called "^3 after"
wait_for has_at_least $((count + 1))
wait_for sleeper_is_gone
snapshots | tail -n 1 | grep -q "as after a crash" || fail "$(snapshots)"
logged "was killed" || fail "$(cat s.log)"

# The server ends while it hangs: it is killed, "after" is called.
rm calls sleeper
kill_nbdkit
start_nbdkit s "$plugin" "$db" auto-snapshot=1s keep=all:ever \
  snapshot-hook=hook snapshot-hook-timeout=1h
change_disk ending
wait_for test -s sleeper
stop_nbdkit
is_called "^3 after" || fail "it was not called after: $(cat calls)"
wait_for sleeper_is_gone

# The disk goes to the trash meanwhile: there it gets no snapshot and keeps all
# that it has.
cat >how <<'EOF2'
[ "$1" = before ] || exit 0
sqlblock set "$SQLBLOCK_DATABASE" "$2" trash=1h
sqlblock delete "$SQLBLOCK_DATABASE" "$2" --snapshots --force
sqlblock trash list "$SQLBLOCK_DATABASE" -H -o snapshots >had
EOF2
rm calls
start_nbdkit s "$plugin" "$db" auto-snapshot=1s keep=all:1s \
  snapshot-hook=hook
change_disk deleted
wait_for is_called "^3 after a disk"
sleep 2.5
[ -s had ] || fail "it was not deleted: $(cat s.log)"
[ "$(sqlblock trash list "$db" -H -o snapshots)" = "$(cat had)" ] ||
  fail "of $(cat had) snapshots the trash has $(sqlblock trash list "$db")"
grep -q "^after a disk auto-.* none$" calls || fail "$(cat calls)"
stop_nbdkit
