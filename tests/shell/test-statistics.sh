#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What servers count: exactly what a client did, in the file for Prometheus
# and in "sqlblock top", which finds servers by itself, sees none that has
# ended or has been killed, and is not confused by programs that claim
# nonsense.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdinfo python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"
use_memory

PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=disks.sqlite
odd='a "b" \c'

# requests SOCKET NAME: some of each kind, on the disk NAME.
requests ()
{
  python3 - "$1" "$2" <<'EOF2'
import nbd, sys
h = nbd.NBD()
h.set_export_name(sys.argv[2])
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.set_pread_initialize(False)
h.connect_unix(sys.argv[1])
for i in range(100):
    h.pwrite(b"x" * 4096, i * 4096)
for i in range(10):
    h.pwrite(b"y" * 100, i * 5000, nbd.CMD_FLAG_FUA)
for i in range(70):
    h.pread(1000, i * 4000)
for i in range(5):
    h.flush()
for i in range(3):
    h.trim(8192, i * 8192)
for i in range(4):
    h.zero(10, i * 8192, nbd.CMD_FLAG_NO_HOLE)
h.cache(3000000, 0)
h.block_status(1 << 20, 0, lambda *a: 0)
h.shutdown()
EOF2
}

# start SOCKET ARGUMENT...: a server, which has opened the database.
start ()
{
  start_nbdkit "$@"
  wait_for nbdinfo --size "$(uri "$1")" >/dev/null
}

# --- The file ---------------------------------------------------------------

sqlblock create -q $db "$odd" --size=4M
start_nbdkit s "$plugin" $db "stats=m \"1\".prom"
stats='m "1".prom'
wait_for test -e "$stats"
python3 "$srcdir/lib/prometheus.py" "$stats" \
  'sqlblock_start_time_seconds{server="m \"1\""}' any
requests s "$odd"

# counted KIND REQUESTS BYTES: what the file is to say of them.
expected=()
counted ()
{
  local labels="{server=\"m \\\"1\\\"\",disk=\"a \\\"b\\\" \\\\c\",request=\"$1\"}"
  expected+=("sqlblock_request_duration_seconds_count$labels" "$2"
    "sqlblock_request_bytes_total$labels" "$3"
    "sqlblock_request_errors_total$labels" 0)
}
counted write 110 410600
counted read 70 70000
counted flush 5 0
counted trim 3 24576
counted zero 4 40
counted cache 1 3000000
counted extents 1 1048576
disk_labels='{server="m \"1\"",disk="a \"b\" \\c"}'
expected+=("sqlblock_clients$disk_labels" 0
  "sqlblock_connections_total$disk_labels" 1)
wait_for python3 "$srcdir/lib/prometheus.py" "$stats" "${expected[@]}"

# Grafana's dashboard asks for what is there, and shows all of it.
python3 "$srcdir/lib/dashboard.py" "$srcdir/../contrib/grafana-dashboard.json" \
  "$stats"

# --- The same in top --------------------------------------------------------

# json EXPRESSION [OPTION...]: a value of the report r of top.
json ()
{
  local expression=$1
  shift
  sqlblock top $db --json "${@:---once}" >report.json
  python3 -c "import json; r = json.load(open('report.json'));
print($expression)"
}

# is EXPRESSION VALUE: in a report.
is ()
{
  local got
  got=$(json "$1")
  [ "$got" = "$2" ] || fail "$1 is $got, not $2"
}

is 'len(r["servers"]), r["servers"][0]["process"]' "1 $nbdkit_pid"
is '[(k, d[k]["count"], d[k]["bytes"], d[k]["errors"])
  for d in r["servers"][0]["disks"] for k in ("read", "write", "flush")]' \
  "[('read', 70, 70000, 0), ('write', 110, 410600, 0), ('flush', 5, 0, 0)]"
is 'all(0 < d["p50"] <= d["p90"] <= d["p99"] <= d["p999"] <= d["max"] < 10
  and d["sum"] <= d["count"] * d["max"]
  for s in r["servers"] for d in (s["commits"], s["syncs"],
    s["disks"][0]["read"], s["disks"][0]["write"]))' True
# One client sends one request at a time; no zero changed anything.
is 'r["servers"][0]["operations"]["sum"]' \
  "$(json 'r["servers"][0]["commits"]["count"]')"
is 'r["servers"][0]["sync_errors"]' 0
is 'r["servers"][0]["disks"][0]["name"]' "$odd"
[ "$(json 'r["servers"][0]["disks"][0]["read"]["count"]' \
  --count=1 --interval=0.1)" = 0 ] || fail "nothing was read in between"

sqlblock top $db --once >once
grep -q "^process $nbdkit_pid of $(id -un), up 0d 00:0" once || fail "once"
grep -qF "$odd  " once || fail "the disk is not in top --once"
[ "$(sqlblock top $db --count=3 -i 0.1 | grep -c ^process)" = 3 ] ||
  fail "--count=3"

fails 2 "from 0.1 to 86400" top $db --interval=0
fails 2 "from 0.1 to 86400" top $db --interval=1x
fails 2 "from 1 on" top $db --count=-1
fails 2 "goes without" top $db --once --count=2

# --- Several servers, and none ----------------------------------------------

first=$nbdkit_pid
start second -r "$plugin" $db
second=$nbdkit_pid
is '[s["process"] for s in r["servers"]]' \
  "[$(printf '%s\n' "$first" "$second" | sort -n | paste -sd, |
    sed 's/,/, /')]"
kill_nbdkit "$second"
is '[s["process"] for s in r["servers"]]' "[$first]"

# Of another database, or one that only reads this one, nothing is seen.
sqlblock create -q other.sqlite x --size=1M
start other "$plugin" other.sqlite
is '[s["process"] for s in r["servers"]]' "[$first]"
stop_nbdkit "$nbdkit_pid"

stop_nbdkit "$first"
[ ! -e "$stats" ] && [ ! -e "$stats.new" ] || fail "$stats is left"
fails 3 "no server of $db " top $db --once
fails 3 "nothing.sqlite: No such file" top nothing.sqlite

# A file of a killed server stays, and the next one takes it over.
start s "$plugin" $db stats=killed.prom
kill_nbdkit
[ -e killed.prom ] || fail "there is no killed.prom"
start s "$plugin" $db stats=killed.prom
python3 "$srcdir/lib/prometheus.py" killed.prom \
  'sqlblock_start_time_seconds{server="killed"}' any
server=$nbdkit_pid

# What nbdkit is called is a label, if it tells that.
if nbdkit_is 1.48; then
  start named --name='my "disks"' -r "$plugin" $db stats=named.prom
  python3 "$srcdir/lib/prometheus.py" named.prom \
    'sqlblock_start_time_seconds{server="named",name="my \"disks\""}' any
  stop_nbdkit "$nbdkit_pid"
fi

# --- Files that are something else ------------------------------------------

echo important >letter
for value in letter $db .; do
  expect_error "is there already" nbdkit -fU bad "$plugin" other.sqlite \
    "stats=$value"
done
[ "$(cat letter)" = important ] || fail "the letter was overwritten"
expect_error "cannot be made" nbdkit -fU bad "$plugin" other.sqlite \
  stats=no/such/directory
expect_error "'stats' is empty" nbdkit -fU bad "$plugin" other.sqlite stats=
expect_error "given twice" nbdkit -fU bad "$plugin" other.sqlite stats=a \
  stats=b

# --- Programs that claim to be servers --------------------------------------

# A right header, but all numbers are the largest; names steer the terminal.
cat >claim.py <<'EOF2'
import os, struct, sys, time
db = os.open(sys.argv[1], os.O_RDONLY)
st = os.fstat(db)
memory = os.memfd_create("sqlblock-statistics")
layout = int(sys.argv[2])
os.ftruncate(memory, 1 << 32)
os.pwrite(memory, b"\xff" * 65536, 0)
os.pwrite(memory, struct.pack("<QQQQQq", 0x7461747371736c62, layout,
                              st.st_dev, st.st_ino, 2**64 - 1, -2**63), 0)
os.pwrite(memory, b"\x1b[2J\x9b\xff" * 5461, 65536)
open("claims", "w").close()
time.sleep(60)
EOF2

# claim LAYOUT: run it.
claim ()
{
  rm -f claims
  python3 claim.py $db "$1" &
  claimer=$!
  started_pids+=("$claimer")
  wait_for test -e claims
}

claim 1
is 'sorted(s["process"] for s in r["servers"]) ==
  sorted(('"$server, $claimer"'))' True
is '[len(s["disks"]) for s in r["servers"] if s["process"] == '"$server"']' \
  "[1]"
sqlblock top $db --count=1 -i 0.1 >claimed
if LC_ALL=C grep -q "[$(printf '\033')]" claimed; then
  fail "a name steers the terminal"
fi
kill -9 "$claimer"
wait "$claimer" || :
claim 999
is '[s["process"] for s in r["servers"]]' "[$server]"
sqlblock top $db --once | grep -qx "and 1 of another version, .*" ||
  fail "nothing is said of the one that cannot be read"
stop_nbdkit "$server"
fails 3 "of another version" top $db --once
kill -9 "$claimer"
wait "$claimer" || :

# --- Another user -----------------------------------------------------------

if [ "$(id -u)" -eq 0 ] && type -P runuser >/dev/null; then
  chmod 755 "$tmp"
  start s "$plugin" $db
  if runuser -u nobody -- "$top_builddir/tool/sqlblock" --version \
    >/dev/null 2>&1; then
    expect_error "root also sees those of other users" \
      runuser -u nobody -- "$top_builddir/tool/sqlblock" top $db --once
  fi
  stop_nbdkit "$nbdkit_pid"
fi

# --- A terminal -------------------------------------------------------------

# 16 disks, of which 9 have a place on 24 lines; a list opens them all.
for i in $(seq 15); do
  sqlblock create -q $db "disk $i" --size=1M
done
start s "$plugin" $db
nbdinfo --list "$(uri s)" >/dev/null
cat >terminal.py <<'EOF2'
import fcntl, os, pty, re, select, signal, struct, sys, termios, time

def start(columns=80):
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ,
                    struct.pack("HHHH", 24, columns, 0, 0))
        os.execvp("sqlblock", ["sqlblock", "top", sys.argv[1], "-i", "0.2"])
    return pid, fd

def read_until(fd, text, seen=b""):
    deadline = time.time() + 30
    while text not in seen:
        if not select.select([fd], [], [], max(0, deadline - time.time()))[0]:
            sys.exit("no %r in %r" % (text, seen))
        seen += os.read(fd, 4096)
    return seen

leave = b"\x1b[?1049l"
pid, fd = start()
seen = read_until(fd, b"and 7 more disks")
assert b"\x1b[?1049h" in seen, seen
lines = seen.split(b"\r\n")
assert len(lines) <= 24 and max(map(len, lines)) <= 100, seen
read_until(fd, b"ERRORS")
os.write(fd, b"q")
read_until(fd, leave)
assert os.waitpid(pid, 0)[1] == 0

# No line is wider than the terminal.
pid, fd = start(33)
seen = read_until(fd, b"more disks")
for line in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", seen).split(b"\r\n"):
    assert len(line) <= 33, line
os.write(fd, b"q")
read_until(fd, leave)
os.waitpid(pid, 0)

# Ctrl-Z stops it as a job, which gives the terminal back as it was; it goes on
# when it is continued. The shell is played by a process of this session.
def play_shell():
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execvp("sqlblock", ["sqlblock", "top", sys.argv[1], "-i", "0.2"])
    for _ in range(2):
        status = os.waitpid(job, os.WUNTRACED)[1]
        assert os.WIFSTOPPED(status), status
        os.tcsetpgrp(0, os.getpid())
        assert termios.tcgetattr(0)[3] & termios.ICANON
        os.write(1, b"stopped\r\n")
        assert os.read(0, 2) == b"fg"
        os.tcsetpgrp(0, job)
        os.killpg(job, signal.SIGCONT)
    status = os.waitpid(job, 0)[1]
    os.tcsetpgrp(0, os.getpid())
    os.write(1, b"ended %d\r\n" % status)
    os._exit(0)

pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    play_shell()
for _ in range(2):
    read_until(fd, b"ERRORS")
    os.write(fd, b"\x1a")
    seen = read_until(fd, b"stopped")
    assert leave in seen, seen
    os.write(fd, b"fg\n")
    read_until(fd, b"\x1b[?1049h")
read_until(fd, b"ERRORS")
os.write(fd, b"q")
read_until(fd, b"ended 0")
os.waitpid(pid, 0)

# The server is killed meanwhile; Ctrl-C.
pid, fd = start()
read_until(fd, b"ERRORS")
os.kill(int(sys.argv[2]), signal.SIGKILL)
read_until(fd, b"no server runs")
os.write(fd, b"\x03")
read_until(fd, leave)
status = os.waitpid(pid, 0)[1]
assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT
EOF2
python3 terminal.py $db "$nbdkit_pid" || fail "on a terminal"
