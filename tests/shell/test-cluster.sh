#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What is asked of a Ceph cluster before SQLite opens a database on it: is it
# there, who has it open, and what is wrong, with a sentence for each and in
# time. How the holder of a lock is fenced.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need timeout python3
use_memory
. "$srcdir/lib/cluster.sh"
start_cluster
cd "$tmp"

PATH=$top_builddir/tool:$PATH

ask ()
{
  timeout 60 "$top_builddir/tests/cluster" "$@"
}

# finds TEXT LOCATION: what is found.
finds ()
{
  local found
  found=$(ask find "$2") || fail "$found"
  [[ $found == $1 ]] || fail "$2: $found, and not $1"
}

# refused ERRNO TEXT ARGUMENT...: it must fail with both.
refused ()
{
  local errno=$1 text=$2 said
  shift 2
  if said=$(ask "$@" 2>log); then
    fail "this was to fail with $errno, $text: $*: $said"
  fi
  [[ $said == "$errno: "* && $said == *"$text"* ]] ||
    fail "«$errno $text» is not in the error of $*: $said $(cat log)"
}

# hold NAME: open the database as any program that uses libcephsqlite, commit a
# row and keep the lock; commit more when the file "again" is there. Its process
# is $holder.
hold ()
{
  python3 - "$1" <<'END' &
import os, sqlite3, sys, time
loader = sqlite3.connect(":memory:")
loader.enable_load_extension(True)
loader.load_extension("libcephsqlite.so")
database = sqlite3.connect("file:///sql:/%s?vfs=ceph" % sys.argv[1],
                           uri=True, isolation_level=None)
database.execute("PRAGMA locking_mode = exclusive")
database.execute("CREATE TABLE IF NOT EXISTS t (x)")
database.execute("INSERT INTO t VALUES (1)")
print(*database.execute("SELECT count (*) FROM t").fetchone(),
      file=open(sys.argv[1] + ".held", "w"))
while not os.path.exists("again"):
    time.sleep(0.05)
try:
    for x in range(100):
        database.execute("INSERT INTO t VALUES (2)")
except sqlite3.Error as error:
    print(error)
# To close what is refused aborts.
os._exit(0)
END
  holder=$!
  started_pids+=("$holder")
  wait_for test -s "$1.held"
}

# What is not there, or is empty: a file that was opened and never written to.
finds "none free" rados:sql/web
finds "none free" rados:sql:space/web
rados -p sql create empty.0000000000000000
for attribute in size allocated version; do
  rados -p sql setxattr empty.0000000000000000 "striper.$attribute" \
    0000000000000000
done
rados -p sql setxattr empty.0000000000000000 striper.excl ""
finds "none free" rados:sql/empty

# What would abort libcephsqlite.
rados -p sql put other.0000000000000000 /etc/passwd
refused EIO "'other.0000000000000000' in the pool 'sql' is no file of" \
  find rados:sql/other
rados -p sql setxattr empty.0000000000000000 striper.version 1x
refused EIO "(striper.version)" find rados:sql/empty
rados -p sql setxattr empty.0000000000000000 striper.version 0000000000000000
rados -p sql create web-wal.0000000000000000
refused EIO "'web-wal.0000000000000000'" find rados:sql/web
rados -p sql rm web-wal.0000000000000000

# SQLite does not count its memory under a lock of the whole process.
[ "$(ask memory rados:sql/web)" = 0 ] || fail "SQLite counts its memory"

# A location that is wrong, a pool that is not there.
refused EINVAL "there is no '/'" find rados:sql
refused ENOENT "the cluster has no pool 'none'" find rados:none/web

# A configuration that is not there, that has no monitor, and one with a
# monitor that does not answer.
CEPH_CONF=$tmp/none refused ENOENT "$tmp/none" find rados:sql/web
grep -v mon_host "$CEPH_CONF" >no-monitor
CEPH_CONF=$tmp/no-monitor refused ENOENT "no monitor is named" \
  find rados:sql/web
sed 's/^mon_host.*/mon_host = v2:127.0.0.1:9/' "$CEPH_CONF" >no-answer
before=$SECONDS
CEPH_CONF=$tmp/no-answer refused ETIMEDOUT \
  "v2:127.0.0.1:9 did not answer within 2 seconds" find rados:sql/web 2
[ $((SECONDS - before)) -lt 10 ] || fail "the timeout of 2 s took longer"

# Users: no key, a wrong one, one who may only read, one who may not fence.
ceph auth get-or-create client.reader mon 'allow r' \
  osd 'allow r pool=other' >reader.keyring
ceph auth get-or-create client.writer mon 'allow r' osd 'allow rwx' \
  >writer.keyring
sed 's/key = .*/key = AQBO+QtrAAAAABAAKzDZrEd4EPHkbxNwpZ7ZhQ==/' \
  writer.keyring >wrong.keyring
CEPH_ARGS="  --id  writer --keyring none" refused EACCES \
  "user client.writer): it does not let this user in" find rados:sql/web
CEPH_ARGS="--name=client.nobody" refused EACCES "user client.nobody): it does" \
  find rados:sql/web
CEPH_ARGS="--id writer --keyring wrong.keyring" refused EACCES \
  "does not let this user in" find rados:sql/web
CEPH_ARGS="--id reader --keyring reader.keyring" refused EACCES \
  "the user client.reader may not read the pool" find rados:sql/web
export CEPH_ARGS="--id writer --keyring writer.keyring"
finds "none free" rados:sql/web
unset CEPH_ARGS

# A holder is found, and fenced: refused first, and then nobody holds it. The
# next one sees what it had committed before, and nothing of what comes later.
hold web
finds "there held client.* 127.0.0.1:*" rados:sql/web
read -r _ _ client cookie address <<<"$(ask find rados:sql/web)"
ask lease rados:sql/web "$client" || fail "the lease of $client"
refused ESHUTDOWN "$address has taken over" lease rados:sql/web client.1
refused EBUSY "$address has it open now" fence rados:sql/web client.1 \
  "$cookie" 192.0.2.1:0/1
CEPH_ARGS="--id writer --keyring writer.keyring" refused EACCES \
  "may not have the cluster refuse" fence rados:sql/web "$client" "$cookie" \
  "$address"
finds "there held $client *" rados:sql/web
ask fence rados:sql/web "$client" "$cookie" "$address"
ceph osd blocklist ls 2>/dev/null | grep -qF "$address" ||
  fail "$address is not refused: $(ceph osd blocklist ls 2>&1)"
finds "there free" rados:sql/web
touch again
wait "$holder" || fail "the holder"
rm again web.held
hold web
[ "$(cat web.held)" = 2 ] || fail "there are $(cat web.held) rows, not 2"

# The command does the same: it shows the holder, asks on a terminal, and says
# what it has done.
fails 3 "there is no database rados:sql/none" break-lock rados:sql/none
fails 2 "there is no '/'" break-lock rados:sql
fails 3 "no pool 'none'" break-lock rados:none/web
read -r _ _ client cookie address <<<"$(ask find rados:sql/web)"
fails 5 "$address has rados:sql/web open" break-lock rados:sql/web
[ "$(sqlblock break-lock rados:sql/web -n)" = \
  "would break the lock of $address ($client)" ] || fail "break-lock -n"
on_terminal ()
{
  python3 -c 'import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
os.write(terminal, sys.argv[1].encode() + b"\n")
try:
    while text := os.read(terminal, 1024):
        os.write(1, text)
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))' "$@"
}
# Who may not do it is told what an administrator does, and that helps.
export CEPH_ARGS="--id writer --keyring writer.keyring"
fails 1 "client.writer may not have the cluster refuse" \
  break-lock -f rados:sql/web
unset CEPH_ARGS
finds "there held $client *" rados:sql/web
caps=$(sed -n 's/.* gives it by "\(ceph auth caps [^"]*\)".*/\1/p' err)
eval "$caps" 2>caps.log || fail "$caps: $(cat caps.log err)"
CEPH_ARGS="--id writer --keyring writer.keyring" \
  sqlblock break-lock -qf rados:sql/web || fail "after $caps"
finds "there free" rados:sql/web
kill_nbdkit "$holder"
rm web.held
hold web
read -r _ _ client cookie address <<<"$(ask find rados:sql/web)"
code=0
on_terminal n sqlblock break-lock rados:sql/web >out || code=$?
[ $code = 5 ] || fail "break-lock and n: $code, $(cat out)"
grep -qF "$address has rados:sql/web open. If" out || fail "$(cat out)"
finds "there held $client *" rados:sql/web
on_terminal y sqlblock break-lock rados:sql/web >out || fail "$(cat out)"
grep -qF "refuses $address now" out || fail "$(cat out)"
finds "there free" rados:sql/web
sqlblock break-lock rados:sql/web 2>&1 |
  grep -qx "nobody has rados:sql/web open" || fail "break-lock where nobody is"
sqlblock break-lock rados:sql/web -n | grep -q "^would do nothing" ||
  fail "break-lock -n where nobody is"
touch again
wait "$holder" || fail "the holder"
rm again web.held
hold web
[ "$(cat web.held)" = 4 ] || fail "there are $(cat web.held) rows, not 4"
sqlblock break-lock --force --quiet rados:sql/web 2>out || fail "$(cat out)"
[ ! -s out ] || fail "--quiet: $(cat out)"
finds "there free" rados:sql/web
kill_nbdkit "$holder"

# Who may not refuse the one that was killed is told so, when he opens it.
sqlblock create -q rados:sql/killed disk --size=1M
hold killed
kill_nbdkit "$holder"
read -r _ _ client cookie address <<<"$(ask find rados:sql/killed)"
rados -p sql lock break killed.0000000000000000 striper.lock "$client" \
  --lock-cookie "$cookie"
ceph auth get-or-create client.weak mon 'allow r' osd 'allow rwx' >weak.keyring
CEPH_ARGS="--id weak --keyring weak.keyring" fails 1 \
  "does the user of Ceph have the capability mon 'profile simple-rados" \
  list rados:sql/killed

# Waiting ends with the lock, and not before.
rados -p sql lock get empty.0000000000000000 striper.lock --lock-cookie c \
  --lock-duration 3
finds "* held * c *" rados:sql/empty
before=$(date +%s)
ask await rados:sql/empty
[ $(($(date +%s) - before)) -ge 2 ] || fail "it did not wait"
finds "* free" rados:sql/empty
