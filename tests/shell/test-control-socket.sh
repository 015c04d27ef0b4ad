#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The control socket of a server: who may make it and use it, and that nothing
# that comes through it, whole, in part or not at all, hurts the server or
# others. SOAK=yes in the environment makes it longer.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3
PATH=$top_builddir/tool:$PATH
cd "$tmp" || exit 1
unset SQLBLOCK_CONTROL
control=$tmp/control

# refused TEXT ARGUMENT...: a server with these parameters does not start, and
# says so before it goes into the background.
refused ()
{
  local text=$1 log=refused.log
  shift
  if timeout 20 nbdkit -P refused.pid -U "$tmp/refused" "$plugin" "$@" \
    >"$log" 2>&1; then
    fail "this server was to be refused: $*"
  fi
  grep -qF -- "$text" "$log" || fail "«$text» is not in $(cat "$log")"
}

sqlblock create -q d.sqlite web --size=64M
sqlblock create -q other.sqlite web --size=1M

# Where it cannot be.
touch file
refused "longer than the 107 bytes" d.sqlite \
  control="$tmp/$(printf 'x%.0s' $(seq 108))"
refused "No such file or directory" d.sqlite control="$tmp/none/control"
refused "is no socket" d.sqlite control="$tmp/file"
refused "is the database, or belongs to it" d.sqlite control="$tmp/d.sqlite"
refused "is the database, or belongs to it" d.sqlite \
  control="$tmp/d.sqlite-wal"
refused "is the file of stats=" d.sqlite control="$tmp/x" stats="$tmp/x"
refused "is empty" d.sqlite control=
mkdir -m 777 open
refused "others could replace" d.sqlite control="$tmp/open/control"
[ -z "$(ls open)" ] || fail "something was made in vain"

# One at a time; one that was left behind is replaced.
start_nbdkit s "$plugin" d.sqlite control="$control"
await_answer s
[ "$(stat -c %a "$control")" = 600 ] || fail "the mode is wrong"
refused "another server has the socket" other.sqlite control="$control"
kill_nbdkit
[ -S "$control" ] || fail "the socket of a server that died is not there"
fails 3 "no server answers" list d.sqlite --control="$control"
start_nbdkit s "$plugin" d.sqlite control="$control"
await_answer s
sqlblock list d.sqlite --control="$control" >/dev/null

# One that somebody else has put there is not removed at the end.
mv control aside
touch control
stop_nbdkit
[ -f control ] || fail "a file of others was removed"
rm control aside
start_nbdkit s "$plugin" d.sqlite control="$control"
await_answer s

# Which database, and how it is said.
fails 1 "serves another database" list other.sqlite --control="$control"
fails 3 "no server answers" list d.sqlite --control=nothing
fails 3 "there is no file" list nothing.sqlite --control="$control"
fails 1 "does not work through a server" upgrade d.sqlite \
  --control="$control"
fails 1 "does not work through a server" check d.sqlite --salvage=out \
  --control="$control"
fails 3 "No such file or directory" backup d.sqlite none/out \
  --control="$control"
fails 1 "does not work through a server" check d.sqlite --repair \
  --control="$control"
fails 1 "not made through a server" backup d.sqlite rados:pool/name \
  --control="$control"
fails 2 "is empty" list d.sqlite --control=
fails 1 "is longer" list d.sqlite --control="$(printf 'x%.0s' $(seq 108))"
export SQLBLOCK_CONTROL=$control
fails 1 "serves another database" list other.sqlite
fails 3 "no server answers" list d.sqlite --control=nothing
SQLBLOCK_CONTROL='' sqlblock list other.sqlite >/dev/null

# completes WANTED WORD...: these are the words that can stand at the end. A
# server that has another database offers none.
completes ()
{
  local wanted=$1 got
  shift
  got=$(sqlblock --complete "$@" 2>/dev/null | cut -f 1) || :
  [ "$got" = "$wanted" ] || fail "completion of $*: $got, wanted $wanted"
}
completes web delete d.sqlite we
completes "" delete other.sqlite we
unset SQLBLOCK_CONTROL
completes web delete other.sqlite we
completes "" delete --control="$control" other.sqlite we
completes "" delete --control "$control" other.sqlite we
completes "" --control="$control" delete other.sqlite we
completes web delete --control="$control" d.sqlite we
export SQLBLOCK_CONTROL=$control
ln d.sqlite second
sqlblock list second >/dev/null
rm second

# Another user is not answered, also where he can connect.
if [ "$(id -u)" = 0 ]; then
  chmod 755 "$tmp"
  chmod 666 "$control"
  python3 - "$control" <<'EOF2'
import json, os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.settimeout(20)
try:
    s.sendall(b'{"call": "store_list", "arguments": {}}\n')
except BrokenPipeError:
    pass
reply = json.loads(s.makefile().readline())
assert reply["error"]["errno"] == "EACCES", reply
EOF2
  chmod 600 "$control"
else
  echo "not root: no other user was tried"
fi

# What a server says is not believed either: here one of a kind of problem that
# does not exist, then extents that are none of the disk.
cat >odd.py <<'EOF2'
import json, os, socket, sys
path, extents = sys.argv[1], json.loads(sys.argv[2])
info = {"id": 1, "name": "web", "description": "", "size": 1 << 20,
        "block_size": 4096, "compression": {"codec": 1, "level": 0},
        "dedup": False, "epoch": 0, "created": 0, "quota": 0, "access": 0,
        "snapshot": 0}
problem = {"kind": 12345678, "mend": 0, "subject": 0, "message": "x",
           "layer": 0, "number": 0, "generation": 0, "offset": 0, "count": 0,
           "shown": [], "shown_total": 0}
counts = dict.fromkeys(("disks", "snapshots", "layers", "blocks", "bytes",
                        "problems", "leftovers", "unknown",
                        "without_checksum"), 0)
results = {
    "store_open": {"database": ""},
    "check_database": {"counts": {**counts, "problems": 1,
                                  "file_not_checked": False}},
    "manage_pin": {"open": 0, "info": info, "readonly": True},
    "disk_open": {"disk": 0, "info": info, "readonly": True},
    "store_find": {"info": info},
    "disk_extents": {"extents": extents},
}
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
file = listener.accept()[0].makefile("rw")
for line in file:
    call = json.loads(line)["call"]
    if call == "check_database":
        print(json.dumps({"found": {"problem": problem}}), file=file)
    print(json.dumps({"result": results.get(call, {})}), file=file, flush=True)
EOF2
# odd EXTENTS TEXT CODE ARGUMENT...: such a server is asked.
odd ()
{
  local extents=$1 text=$2 code=$3 got=0
  shift 3
  rm -f odd
  python3 odd.py odd "$extents" &
  started_pids+=($!)
  wait_for test -S odd
  timeout 20 sqlblock "$@" --control=odd >said 2>&1 || got=$?
  [ "$got" = "$code" ] && grep -qaF "$text" said ||
    fail "exit code $got, wanted $code and «$text»: $(cat said)"
}
odd '[]' "what has no name" 6 check d.sqlite
for extents in '' '{"offset": 0, "length": 0, "hole": true}' \
  '{"offset": 4096, "length": 4096, "hole": true}' \
  '{"offset": 0, "length": 1048577, "hole": true}' \
  '{"offset": 0, "length": 4096, "hole": true},
   {"offset": 0, "length": 4096, "hole": true}'; do
  odd "[$extents]" "not those of the range" 1 export d.sqlite web -
done

# What was done last is told, also where it ends soon after that.
head -c 40000000 /dev/urandom >image
sqlblock import -q d.sqlite big image
sqlblock snapshot create -q d.sqlite big@all
sqlblock clone -q d.sqlite big@all clone
sqlblock flatten d.sqlite clone 2>said
grep -qF "copied 38.1M; disk 'clone'" said || fail "not so: $(cat said)"
sqlblock delete -q d.sqlite clone
sqlblock delete -q d.sqlite big --snapshots

python3 -B "$srcdir/lib/control.py" "$control" "$tmp/d.sqlite" \
  "$(uri s web)" "$nbdkit_pid"

# The server ends while a call runs and clients wait; nothing is left of what
# they did.
sqlblock import -q d.sqlite big image
sqlblock snapshot create -q d.sqlite big@all
sqlblock clone -q d.sqlite big@all clone
mkfifo fifo
sqlblock import d.sqlite coming fifo 2>import.err &
import=$!
started_pids+=("$import")
exec 9>fifo
head -c 9000000 image >&9
wait_for is_receiving d.sqlite
python3 - "$control" 9>&- <<'EOF2' &
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'{"call": "store_li')
time.sleep(100)
EOF2
started_pids+=("$!")
sleep 0.5
sqlblock flatten -q d.sqlite clone 9>&- 2>flatten.err &
flatten=$!
started_pids+=("$flatten")
sleep 0.1
before=$SECONDS
stop_nbdkit
[ $((SECONDS - before)) -lt 15 ] || fail "a client has kept the server"
exec 9>&-
code=0
wait "$flatten" || code=$?
[ "$code" = 0 ] || { [ "$code" = 1 ] && grep -q "ended\|inter" flatten.err; } ||
  fail "the command ended with $code: $(cat flatten.err)"
echo "flattening ended with $code"
code=0
wait "$import" || code=$?
[ "$code" = 1 ] || fail "the command ended with $code: $(cat import.err)"
grep -q "server has ended\|has ended" import.err ||
  fail "the command does not say why: $(cat import.err)"
unset SQLBLOCK_CONTROL
[ "$(echo $(sqlblock list d.sqlite --names))" = "web big clone" ] ||
  fail "something is left"
sqlblock flatten -q d.sqlite clone
sqlblock export d.sqlite clone - | cmp - image || fail "another clone"
query d.sqlite "SELECT count (*) FROM disk WHERE name LIKE '%/%'" |
  grep -qx 0 || fail "a reception is left"

# The same where it is killed.
start_nbdkit s "$plugin" d.sqlite control="$control"
await_answer s
sqlblock import -q d.sqlite coming image --control="$control" &
import=$!
started_pids+=("$import")
wait_for is_receiving d.sqlite
kill_nbdkit
code=0
wait "$import" 2>/dev/null || code=$?
[ "$code" = 1 ] || fail "the command ended with $code"
sqlblock check -q d.sqlite >/dev/null
