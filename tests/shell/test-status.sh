#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Who has what open: by what locks and servers tell, and by a control socket.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need sqlite3 nbdkit nbdsh python3
PATH=$top_builddir/tool:$PATH
cd "$tmp" || exit 1

sqlblock create -q disks web --size=1M
sqlblock create -q disks mail --size=1M
sqlblock snapshot create -q disks web@monday

# shows OPTIONS LINE...: status has a line that matches each.
shows ()
{
  local options=$1 line
  shift
  # Several words, or none.
  # shellcheck disable=SC2086
  sqlblock status disks -H $options >out || fail "status $options"
  for line; do
    grep -qP "$line" out || fail "no $line in: $(cat out)"
  done
}
nobody ()
{
  [ -z "$(sqlblock status disks -H)" ] || fail "$(sqlblock status disks)"
}
nobody
[ "$(sqlblock status disks --json | tr -d ' \n')" = '{"status":[]}' ] ||
  fail "status --json"

start_nbdkit socket "$plugin" "$tmp/disks" control="$tmp/control"
await_answer socket
one=$nbdkit_pid
start_nbdkit_tcp "$plugin" "$tmp/disks"
two=$nbdkit_pid
export port=$nbdkit_port
shows "" "^server\t-\t0\tprocess $one of user $UID on .*, version .*\t20" \
  "^server\t-\t0\tprocess $two "
cat >session.py <<'EOF2'
import os, subprocess, sys
def connect (uri):
    h = nbd.NBD()
    h.connect_uri(uri)
    return h
tmp, port = os.environ["tmp"], os.environ["port"]
web = connect("nbd+unix:///web?socket=%s/socket" % tmp)
web.pwrite(bytes(512), 0)
old = connect("nbd+unix:///web@monday?socket=%s/socket" % tmp)
mail = connect("nbd://127.0.0.1:%s/web@monday" % port)
print(os.getpid(), flush=True)
sys.stdin.readline()
EOF2
mkfifo go
nbdsh -c "exec (open ('session.py').read ())" <go >pid &
started_pids+=("$!")
exec 8>go
wait_for test -s pid
client=$(cat pid)
shows "" "^server\t-\t2\tprocess $one " "^served\tweb\t2\tprocess $one " \
  "^server\t-\t1\tprocess $two " "^written\tweb\t-\tprocess $one on " \
  "^read\tweb@monday\t-\tprocess $one on " \
  "^read\tweb@monday\t-\tprocess $two on "
shows "--control=$tmp/control" "^server\t-\t2\tprocess $one " \
  "^client\tweb\t-\tprocess $client of user $UID\t20" \
  "^reader\tweb@monday\t-\tprocess $client of user $UID\t20" \
  "^command\t-\t-\tprocess [0-9]+ of user $UID: server_ask" \
  "^read\tweb@monday\t-\tprocess $two on "
sqlblock status disks --json --control="$tmp/control" | python3 -c '
import json, sys
lines = json.load(sys.stdin)["status"]
assert {"use", "target", "clients", "who", "since"} == set(lines[0]), lines
assert [l["target"] for l in lines if l["use"] == "client"] == ["web"], lines
' || fail "status --json --control"
sqlblock status disks -o use,target -s target >/dev/null
exec 8>&-
wait_for sh -c "[ -z \"\$(sqlblock status disks -H | grep -v ^server)\" ]"

# One without a socket: nothing is complained of.
[ ! -s "$tmp/socket.log" ] || ! grep -i "peer" "$tmp/socket.log" ||
  fail "$(cat "$tmp/socket.log")"
nbdsh -c "h.connect_command (['nbdkit', '-s', '$plugin', '$tmp/disks'])" \
  -c "assert h.get_size () == 1048576" 2>err || fail "-s: $(cat err)"
! grep -qi "peer\|socket" err || fail "-s complains: $(cat err)"

# A copy, and a disk that comes in.
stop_nbdkit "$one"
stop_nbdkit "$two"
head -c 4M /dev/urandom >image
sqlblock import -q disks big image
db=$tmp/disks
mkfifo fifo
killed_import image 3000000 -q "$db" coming
nobody
exec 9<>fifo
sqlblock import -q "$db" coming fifo &
importer=$!
started_pids+=("$importer")
head -c 3000000 image >&9
wait_for sh -c "sqlblock status disks -H | grep -q '^received.coming'"
shows "" "^received\tcoming/receiving\t-\tprocess $importer on "
kill -9 "$importer"
wait "$importer" 2>/dev/null || :
exec 9>&-
sqlblock export disks big - | { sleep 3; sqlblock status disks -H >out; cat; } \
  >/dev/null
grep -qP "^pinned\tbig\t-\t-\t20" out || fail "pinned: $(cat out)"

# What somebody writes into the lock file is only shown.
python3 - <<'EOF2'
import fcntl, os, struct
f = os.open("disks-lock", os.O_RDWR)
os.pwrite(f, b"\x1b[31mevil\n\xff" + bytes(90), 256)
fcntl.fcntl(f, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 256, 1, 0))
os.system("sqlblock status disks -H >out; sqlblock status disks --json >json")
EOF2
grep -qP '^written\tweb\t-\t\?\[31mevil\?\?\t-$' out || fail "$(cat -v out)"
grep -qF '"?[31mevil??"' json || fail "$(cat -v json)"
nobody

# What somebody puts in its place is not waited for.
mv disks-lock kept-lock
mkfifo disks-lock
for command in "list disks" "info disks web" "status disks" "check disks"; do
  timeout 20 sqlblock $command >out 2>&1 || fail "$command: $(cat out)"
done
timeout 20 sqlblock set disks web user:a=b 2>err && fail "it was written to"
grep -q "not a lock file" err || fail "$(cat err)"
rm disks-lock
mv kept-lock disks-lock
