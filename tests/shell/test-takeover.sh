#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A database on a Ceph cluster when its server dies, and when it only seems to:
# what was acknowledged is there, whoever serves it, and nothing is acknowledged
# by a server that does not have it any more.
#
# The lock of a server that was killed lasts for 30 seconds, so most of the test
# breaks it, and only once it is waited for.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh timeout
[ -x "$top_builddir/tests/model-check" ] ||
  skip "model-check needs libnbd to be built"
use_memory
. "$srcdir/lib/cluster.sh"
start_cluster
cd "$tmp"
PATH=$top_builddir/tool:$PATH
export TMPDIR=$tmp uri
db=rados:sql/disk

# check LOCATION: nothing is wrong with it.
check ()
{
  sqlblock check "$1" >out 2>&1 || fail "check $1: $(cat out)"
}

# A configuration that is wrong, a pool that is not there, and monitors that do
# not answer are errors at the start, also in the background.
sed 's/^mon_host.*/mon_host = v2:127.0.0.1:9/' "$CEPH_CONF" >no-answer
for options in -f ""; do
  CEPH_CONF=$tmp/none expect_error "cannot read the configuration of Ceph" \
    timeout 30 nbdkit $options -U "$tmp/s" -P pid "$plugin" $db size=1M
  expect_error "no pool 'none'" timeout 30 nbdkit $options -U "$tmp/s" -P pid \
    "$plugin" rados:none/disk size=1M
  CEPH_CONF=$tmp/no-answer expect_error "did not answer within 2 seconds" \
    timeout 30 nbdkit $options -U "$tmp/s" -P pid "$plugin" $db size=1M \
    timeout=2s
done
expect_error "only takeover=wait" timeout 30 nbdkit -f -U "$tmp/s" "$plugin" \
  $db takeover=yes
expect_error "takeover= is for databases on a cluster" timeout 30 \
  nbdkit -f -U "$tmp/s" "$plugin" disk.sqlite size=1M takeover=wait

# Kills under load, after each of which the lock is broken.
"$top_builddir/tests/kill-rounds" --plugin "$plugin" --size 16M --rounds 3 \
  --database rados:sql/kill --killed "sqlblock break-lock -qf rados:sql/kill" ||
  fail "kills under load"
check rados:sql/kill
"$top_builddir/tests/model-check" --plugin "$plugin" --operations 1500 \
  --kills 2 --database rados:sql/model \
  --killed "sqlblock break-lock -qf rados:sql/model" || fail "the model"
check rados:sql/model

# write_on SOCKET NAME: write and flush one block after the other, until the
# server is gone or nothing has succeeded for 5 seconds, and put the number of
# each that was acknowledged into the file NAME.acknowledged; what failed into
# NAME.failed. The process is $writer.
write_on ()
{
  : >"$2.acknowledged"
  : >"$2.failed"
  uri=$(uri "$1") name=$2 timeout 120 nbdsh -c '
import os, time
h.connect_uri(os.environ["uri"])
name = os.environ["name"]
acknowledged = open(name + ".acknowledged", "a", buffering=1)
failed = open(name + ".failed", "a", buffering=1)
number = -1
last = time.monotonic()
while time.monotonic() - last < 5 and number < 16000 and \
        not h.aio_is_dead():
    number += 1
    block = (b"%s %d " % (name.encode(), number)).ljust(4096, b"x")
    try:
        h.pwrite(block, number * 4096)
        h.flush()
        print(number, file=acknowledged)
        last = time.monotonic()
    except nbd.Error as error:
        print(number, error.errno, error, file=failed)
    # What it has read before, and another server has changed since.
    try:
        if os.path.exists("changed") and h.pread(4096, 2**26 - 4096) == bytes(4096):
            print("old", file=failed)
        elif number == 0:
            h.pread(4096, 2**26 - 4096)
    except nbd.Error as error:
        pass
' 2>"$2.client" &
  writer=$!
  started_pids+=("$writer")
  wait_for test -s "$2.acknowledged"
}

# has_all SOCKET NAME: all that was acknowledged is there.
has_all ()
{
  uri=$(uri "$1") name=$2 timeout 60 nbdsh -c '
import os
h.connect_uri(os.environ["uri"])
name = os.environ["name"]
numbers = [int(line) for line in open(name + ".acknowledged")]
for number in numbers:
    start = b"%s %d " % (name.encode(), number)
    found = bytes(h.pread(4096, number * 4096))
    assert found.startswith(start), \
        "%d of %d: %r" % (number, len(numbers), found[:40])
print("%s: %d acknowledged, lost 0" % (name, len(numbers)))' ||
    fail "$2: something is lost"
}

# has_ended PID NAME: a server that was fenced has ended, said so in one line,
# and no request was answered with what was there before.
has_ended ()
{
  local code=0 _
  for _ in $(seq 100); do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
  done
  ! kill -0 "$1" 2>/dev/null || fail "$2: the server has not ended"
  wait "$1" || code=$?
  [ "$code" = 1 ] || fail "$2: the server has ended with $code"
  [ "$(grep -c "all requests fail from now on" "$2.log")" = 1 ] ||
    fail "$2: it does not say why: $(cat "$2.log")"
  wait "$writer" || fail "$2: the client: $(cat "$2.client")"
  ! grep -qx old "$2.failed" || fail "$2: it was read what was there before"
}

# A second server, and a command, are told who has it.
start_nbdkit one "$plugin" $db size=64M
one=$nbdkit_pid
await_answer one
holder=$("$top_builddir/tests/cluster" find $db)
holder=${holder##* }
expect_error "$db is open elsewhere, by $holder" timeout 30 \
  nbdkit -f -U "$tmp/two" "$plugin" $db
fails 5 "$holder" list $db

# The server is stopped under load. One that waits takes over when the lock has
# ended, and writes. Then the first one wakes up.
write_on one one
nbdkit -f -U "$tmp/two" -P two.pid "$plugin" $db takeover=wait \
  >two.log 2>&1 &
two=$!
started_pids+=("$two")
wait_for grep -q "$holder .* has it open: waiting" two.log
sleep 2
[ ! -e two.pid ] || fail "the second server serves beside the first"
kill -STOP "$one"
stopped=$SECONDS
for _ in $(seq 400); do
  [ ! -s two.pid ] || break
  sleep 0.1
done
[ -s two.pid ] || fail "the second server does not take over: $(cat two.log)"
echo "taken over after $((SECONDS - stopped)) s"
has_all two one
uri=$(uri two) nbdsh -c 'import os; h.connect_uri(os.environ["uri"])' \
  -c 'h.pwrite(b"2" * 4096, 2**26 - 4096); h.flush()'
touch changed
kill -CONT "$one"
has_ended "$one" one
has_all two one
rm changed

# While the cluster does not answer, requests wait: it is not known whose the
# database is.
uri=$(uri two) osd=$osd timeout 60 nbdsh -c '
import os, signal, subprocess, time
h.connect_uri(os.environ["uri"])
osd = int(os.environ["osd"])
os.kill(osd, signal.SIGSTOP)
time.sleep(7)
subprocess.Popen(["sh", "-c", "sleep 2; kill -CONT %d" % osd])
begin = time.monotonic()
assert h.pread(4096, 2**26 - 4096) == b"2" * 4096
assert time.monotonic() - begin > 1, "it did not wait"
h.pwrite(b"2" * 4096, 2**26 - 4096)
h.flush()' || fail "a cluster that does not answer: $(cat two.log)"

# The lock of one that serves is broken under load.
write_on two two
sleep 0.5
sqlblock break-lock --force $db
start_nbdkit three "$plugin" $db
uri=$(uri three) nbdsh -c 'import os; h.connect_uri(os.environ["uri"])' \
  -c 'assert h.pread(4096, 2**26 - 4096) == b"2" * 4096' \
  -c 'h.pwrite(b"3" * 4096, 2**26 - 4096); h.flush()'
has_ended "$two" two
has_all three two

# A server that has only read for a while has nothing left in its log, which
# goes when it ends. Where it is fenced, and reads, it does not remove that of the
# server that has taken over: newer libcephsqlite has a connection then that is
# not refused.
stop_nbdkit
start_nbdkit reads "$plugin" $db cache=1M
reads=$nbdkit_pid
uri=$(uri reads) timeout 60 nbdsh -c '
import os, time
h.connect_uri(os.environ["uri"])
for offset in range(0, 2**23, 2**20):
    h.pwrite(os.urandom(2**20), 2**25 + offset)
h.flush()
time.sleep(3)
open("reading", "w")
while not h.aio_is_dead():
    for offset in range(0, 2**23, 2**16):
        try:
            h.pread(4096, 2**25 + offset)
        except nbd.Error:
            if h.aio_is_dead():
                break' 2>reads.client &
started_pids+=($!)
wait_for test -e reading
sqlblock break-lock -qf $db
start_nbdkit next "$plugin" $db
uri=$(uri next) nbdsh -c 'import os; h.connect_uri(os.environ["uri"])' \
  -c 'h.pwrite(b"n" * 4096, 0); h.flush()'
wait "$reads" && fail "the server that was fenced has ended well"
kill_nbdkit
sqlblock break-lock -qf $db
start_nbdkit three "$plugin" $db
uri=$(uri three) nbdsh -c 'import os; h.connect_uri(os.environ["uri"])' \
  -c 'assert h.pread(4096, 0) == b"n" * 4096' ||
  fail "the log of the next server is gone"

# stand_by NAME PARAMETER...: a server that waits; its process is $standing.
stand_by ()
{
  nbdkit -f -U "$tmp/$1" -P "$1.pid" "$plugin" $db takeover=wait "${@:2}" \
    >"$1.log" 2>&1 &
  standing=$!
  started_pids+=("$standing")
  wait_for grep -q "has it open: waiting" "$1.log"
}

# serves NAME: it has a socket, and answers on it.
serves ()
{
  [ -e "$tmp/$1" ] && timeout 2 nbdsh -c "h.set_opt_mode (True)" \
    -c "h.connect_unix ('$tmp/$1')" -c "h.opt_abort ()" 2>/dev/null
}

# ended PID
ended ()
{
  ! kill -0 "$1" 2>/dev/null
}

# Of two that stand by for one that dies, one takes over, and the other one waits
# on without a socket. While the cluster does not answer both wait, too.
stand_by four timeout=2s
four=$standing
stand_by five
five=$standing
kill -STOP "$osd"
wait_for grep -q "the cluster does not answer: waiting" four.log
kill -CONT "$osd"
sleep 1
kill -KILL "$nbdkit_pid"
sqlblock break-lock -qf $db
for _ in $(seq 200); do
  ! serves four || break
  ! serves five || break
  sleep 0.1
done
if serves four; then
  loser=$five name=five
else
  serves five || fail "none takes over: $(cat four.log five.log)"
  loser=$four name=four
fi
sleep 1
kill -0 "$loser" 2>/dev/null || fail "$name does not wait: $(cat $name.log)"
[ ! -e "$tmp/$name" ] || fail "$name listens, but waits: $(cat $name.log)"
kill -TERM "$loser" 2>/dev/null || :
wait_for ended "$loser"
kill -TERM "$four" "$five" 2>/dev/null || :
wait_for ended "$four"
wait_for ended "$five"
check $db
