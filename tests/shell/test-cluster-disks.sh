#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Disks in a database on a Ceph cluster: served, killed, checked, and managed by
# all commands as in a file. What cannot be done there says so, and what is
# wrong is seen when the server starts.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh timeout python3
use_memory
. "$srcdir/lib/cluster.sh"
start_cluster
cd "$tmp"
PATH=$top_builddir/tool:$PATH
db=rados:sql:disks/web.sqlite

# refused TEXT ARGUMENT...: a server must not start, and say TEXT.
refused ()
{
  local text=$1
  shift
  if timeout 60 nbdkit -f -U "$tmp/refused" "$plugin" "$@" 2>err; then
    fail "it serves: $*"
  fi
  grep -qF -- "$text" err || {
    cat err >&2
    fail "«$text» is not in the error of: $*"
  }
}

refused "has no pool 'none'" db=rados:none/a size=1M
refused "does not exist: give size=SIZE" db="$db"
refused "only letters, digits" db="rados:sql/a b" size=1M
refused "one server at a time" db="$db" size=1M shared=true
refused "is for databases on a cluster" db=file.sqlite size=1M cache=1M
refused "not a span of time" db="$db" size=1M timeout=soon
SECONDS=0
sed 's,^mon_host.*,mon_host = v2:127.0.0.1:1/0,' "$CEPH_CONF" >away.conf
CEPH_CONF=$tmp/away.conf refused "did not answer within 2 s" \
  db="$db" size=1M timeout=2s
[ "$SECONDS" -lt 15 ] || fail "the monitors were waited for for $SECONDS s"

# A configuration that is named from here, for a server in the background, which
# runs elsewhere.
cp "$CEPH_CONF" here.conf
CEPH_CONF=here.conf nbdkit -U "$tmp/background" -P "$tmp/background.pid" \
  "$plugin" rados:sql/background size=1M
wait_for test -s "$tmp/background.pid"
background=$(cat "$tmp/background.pid")
started_pids+=("$background")
await_answer background
kill "$background"

# What was acknowledged, flushed or not, is there after kill -9; the file
# "acknowledged" has what was written last to each block.
cat >write.py <<'END'
import os, random, sys
def write(h, path):
    log = open(path, "a")
    open("begun", "w").close()
    while True:
        data, at = os.urandom(4096), random.randrange(16384) * 4096
        log.write("%d - \n" % at)
        log.flush()
        h.pwrite(data, at)
        log.write("%d %s\n" % (at, data.hex()))
        log.flush()
        if random.random() < 0.1:
            h.flush()
END
cat >compare.py <<'END'
def compare(h, path):
    known = {}
    for line in open(path):
        at, data = line.split()
        known[int(at)] = data
    for at, data in known.items():
        if data != "-" and h.pread(4096, at).hex() != data:
            raise Exception("what was acknowledged at %d is lost" % at)
    return len(known)
END

kill_round ()
{
  local found writer
  rm -f begun
  start_nbdkit s "$plugin" db="$db" size=64M
  await_answer s
  nbdsh -c 'import sys; sys.path.insert (0, ".")' -c 'import write' \
    -u "nbd+unix:///?socket=$tmp/s" -c 'write.write (h, "acknowledged")' \
    >out 2>&1 &
  writer=$!
  wait_for test -e begun
  sleep "$1"
  kill_nbdkit
  wait "$writer" 2>/dev/null || :
  found=$("$top_builddir/tests/cluster" find "$db")
  [[ $found == "there held "* ]] || fail "the lock is not there: $found"
  fails 5 "is open elsewhere, by " list "$db"
  refused "is open elsewhere, by " db="$db"
  # shellcheck disable=SC2086
  "$top_builddir/tests/cluster" fence "$db" ${found#there held } ||
    fail "the killed server was not fenced"
  sqlblock check "$db" >out 2>&1 || {
    cat out >&2
    fail "after a kill the database is damaged"
  }
  grep -q '0 problems' out
  start_nbdkit s "$plugin" db="$db"
  await_answer s
  nbdsh -c 'import sys; sys.path.insert (0, ".")' -c 'import compare' \
    -u "nbd+unix:///?socket=$tmp/s" \
    -c 'assert compare.compare (h, "acknowledged") > 0'
  kill "$nbdkit_pid"
  wait "$nbdkit_pid" || fail "the server did not end well"
}

for pause in 1 2 0.3; do
  kill_round "$pause"
done

# A server that ends lets go: nothing is left but the database.
[ "$("$top_builddir/tests/cluster" find "$db")" = "there free" ]
[ -z "$(rados -p sql -N disks ls | grep -e -wal)" ] || fail "the log is left"

# How many requests the cluster gets for a write: it answers so many a second,
# whatever their size.
requests ()
{
  ceph --admin-daemon "$(echo "$cluster"/run/osd.0*.asok)" perf dump osd |
    python3 -c 'import json, sys; print (json.load (sys.stdin)["osd"]["op"])'
}
start_nbdkit s "$plugin" db="$db"
await_answer s
write_some='
import os, random
for i in range (500):
    h.pwrite (os.urandom (4096), random.randrange (16384) * 4096)
h.flush ()'
nbdsh -u "nbd+unix:///?socket=$tmp/s" -c "$write_some"
before=$(requests)
nbdsh -u "nbd+unix:///?socket=$tmp/s" -c "$write_some"
count=$(($(requests) - before))
echo "requests for 500 writes: $count"
[ "$count" -ge 500 ] || fail "commits are not on the cluster: $count requests"
[ "$count" -le 1300 ] || fail "$count requests for 500 writes"
# Commands beside the server go through it.
kill "$nbdkit_pid"
wait "$nbdkit_pid"
control=$tmp/control
start_nbdkit s "$plugin" db="$db" control="$control"
await_answer s
beside ()
{
  timeout 60 sqlblock --control="$control" "$@" >out 2>err || {
    cat out err >&2
    fail "through the server: sqlblock $*"
  }
}
beside snapshot create "$db" disk@beside
beside create "$db" other --size=16M
beside list --names "$db"
grep -qx other out || fail "the new disk is not in the list"
nbdsh -u "nbd+unix:///other?socket=$tmp/s" -c 'h.pwrite (b"x" * 65536, 0)'
beside export "$db" other beside.img
cmp -n 65536 beside.img <(head -c 64K /dev/zero | tr '\0' x)
beside check "$db"
grep -q '0 problems' out err || fail "the check through the server says nothing"
beside delete "$db" other
fails 1 "serves another database" --control="$control" list rados:sql:disks/no
# Trim, in a file that is served.
nbdsh -u "nbd+unix:///?socket=$tmp/s" -c 'h.trim (32 << 20, 0)' \
  -c 'h.flush ()' -c 'assert h.pread (4096, 0) == bytes (4096)'
kill "$nbdkit_pid"
wait "$nbdkit_pid"

# All that is done by name.
head -c 6M /dev/urandom >image
head -c 2M /dev/zero >>image
run ()
{
  timeout 120 sqlblock "$@" >out 2>err || {
    cat out err >&2
    fail "sqlblock $*"
  }
}
# is_image DATABASE DISK: it is what the image is.
is_image ()
{
  rm -f exported
  run export "$1" "$2" exported
  cmp exported image
}
run import "$db" image image
is_image "$db" image
run snapshot create "$db" image@one
run set "$db" image compression=zstd dedup=on quota=100M
run recompress "$db" image
run clone "$db" image@one copy
run rollback "$db" image@one
is_image "$db" copy
is_image "$db" image@one
is_image "$db" "image@$(date -u +%FT%TZ)"
sqlblock send "$db" image@one >stream 2>err
run receive "$db" received <stream
is_image "$db" received
run flatten "$db" copy
run diff "$db" image@one image
run map "$db" image
run delete "$db" image --snapshots
run compact "$db"
run check "$db"
run backup "$db" backup.sqlite
run check backup.sqlite
run backup backup.sqlite rados:sql/restored.sqlite
run check rados:sql/restored.sqlite
is_image rados:sql/restored.sqlite copy
fails 4 "File exists" backup backup.sqlite rados:sql/restored.sqlite
run upgrade "$db"

# What runs beside a server: snapshots by schedule, and the scrub.
start_nbdkit s "$plugin" db="$db" auto-snapshot=1s keep=all:1h scrub=1h \
  export=disk
await_answer s
nbdsh -u "nbd+unix:///?socket=$tmp/s" -c 'h.pwrite (bytes (512) * 8, 8192)' \
  -c 'import time' -c 'time.sleep (2.5)' -c 'h.pwrite (b"a" * 4096, 4096)'
kill "$nbdkit_pid"
wait "$nbdkit_pid"
run snapshot list "$db" disk
[ "$(grep -c disk@ out)" -ge 1 ] || fail "no snapshot was taken"

# And what cannot.
fails 1 "is not seen from here" top --once "$db"
fails 1 "copy its objects into a file" check --salvage out.sqlite "$db"

# A file of such a name is one.
mkdir rados:sql
run create ./rados:sql/a.sqlite disk --size 1M
[ -s rados:sql/a.sqlite ] || fail "there is no file"
