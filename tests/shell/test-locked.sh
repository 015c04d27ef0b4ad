#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Another program holds the database locked for some seconds: commands and
# servers wait for it, and nobody says that the storage has failed. Where they
# have waited long enough, what is said is what it is.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3 mkfifo
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
use_memory
cd "$tmp"
db=disks.sqlite

# lock SECONDS: hold the lock of writers that long, from now on.
lock ()
{
  rm -f locked
  python3 -c '
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
database.execute("BEGIN IMMEDIATE")
open("locked", "w").close()
time.sleep(float(sys.argv[2]))
database.execute("ROLLBACK")' "$db" "$1" &
  locker=$!
  started_pids+=("$locker")
  wait_for test -e locked
}

# quiet FILE: nothing in it speaks of a failure.
quiet ()
{
  if grep -qiE "sync|storage|power cut|failed|warning" "$1"; then
    cat "$1" >&2
    fail "a false alarm: $1"
  fi
}

# waits ARGUMENT...: sqlblock waits for the lock, and then does it.
waits ()
{
  lock 2.5
  local got=0
  sqlblock "$@" 2>err >out || got=$?
  if [ "$got" != 0 ]; then
    cat err >&2
    fail "exit code $got: sqlblock $*"
  fi
  quiet err
  wait "$locker"
}

head -c 300000 /dev/urandom >image
sqlblock create -q "$db" web --size=64M
waits snapshot create "$db" web@a
[ "$(sqlblock snapshot list "$db" web | grep -c web)" = 1 ] ||
  fail "no snapshot was made"
waits set "$db" web dedup=off
waits import "$db" other image
waits snapshot delete "$db" web@a
waits delete "$db" other

# --- After somebody died -------------------------------------------------------

# What a process that was killed has written may not be on the disk: whoever
# comes next writes the log again, for which it needs the lock, too.
mkfifo fifo
killed_import image 200000 -q "$db" killed
waits snapshot create "$db" web@b
sqlblock compact -q "$db"

# The same beside a server, which does not settle the log for the command.
start_nbdkit s "$plugin" "$db"
nbdsh -u "$(uri s web)" -c 'h.pwrite(b"x" * 4096, 0)'
killed_import image 200000 -q "$db" killed
waits snapshot create "$db" web@c
waits snapshot delete "$db" web@c
kill_nbdkit

# --- A server ------------------------------------------------------------------

# The first client settles what the killed one has left. It writes when the
# lock is gone; then its flush must succeed.
start_nbdkit s "$plugin" "$db"
lock 3
nbdsh -u "$(uri s web)" -c '
h.pwrite(b"y" * 4096, 8192)
h.flush()
h.pwrite(b"z" * 4096, 12288, nbd.CMD_FLAG_FUA)' || fail "a flush has failed"
wait "$locker"
if grep -qE "sync of|power cut|look at the" s.log; then
  cat s.log >&2
  fail "a false alarm in the log of the server"
fi
# A flush alone waits, too.
stop_nbdkit
start_nbdkit s "$plugin" "$db"
lock 4
nbdsh -u "$(uri s web)" -c 'h.flush()' || fail "a flush alone has failed"
wait "$locker"
stop_nbdkit

# Readers only keep the log from starting over.
python3 -c '
import sqlite3, time
database = sqlite3.connect("disks.sqlite", isolation_level=None)
database.execute("BEGIN")
database.execute("SELECT count (*) FROM block").fetchone()
open("reading", "w").close()
time.sleep(60)' &
started_pids+=("$!")
wait_for test -e reading
sqlblock snapshot create "$db" web@d 2>err || fail "a reader: $(cat err)"
quiet err
sqlblock check "$db" >out 2>err || fail "$(cat out err)"

# --- Too long ------------------------------------------------------------------

# After 30 seconds it is given up, and nothing was changed.
lock 100
SECONDS=0
fails 1 "another program holds the database locked" \
  snapshot create "$db" web@late
[ "$SECONDS" -ge 25 ] || fail "it waited for only $SECONDS s"
quiet <(sed 's/failed//' err)
kill "$locker"
wait "$locker" 2>/dev/null || :
sqlblock snapshot list "$db" | grep late && fail "it was made all the same"
exit 0
