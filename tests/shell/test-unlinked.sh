#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The files beside a database, -wal, -shm and -lock, deleted or replaced under a
# running server: nothing is written any more, reading goes on, the server's
# log says what to do, and all that was flushed is there after kill -9.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"
PATH=$top_builddir/tool:$PATH
db=$tmp/disk.sqlite

cat >"$tmp/client.py" <<'EOF2'
import errno, nbd, os, shutil, signal, sqlite3, subprocess, sys, threading, time

socket, db, scenario = sys.argv[1:4]
log, index, server_log = db + "-wal", db + "-shm", socket + ".log"
BLOCK = 4096
BLOCKS = 512

def connect():
    client = nbd.NBD()
    client.connect_unix(socket)
    return client

def pattern(number, version):
    return (b"%07d %07d" % (number, version)).ljust(64, b"x") * (BLOCK // 64)

h = connect()
flushed = {}

def write(number, version):
    h.pwrite(pattern(number, version), number * BLOCK)
    h.flush()
    flushed[number] = version

def fails(function, *arguments):
    try:
        function(*arguments)
    except nbd.Error as error:
        assert error.errnum == errno.EIO, error
    else:
        raise Exception("this was to fail: %s" % function)

def remove(*names):
    for name in names:
        os.remove(name)

def wait_for(text, times=1):
    for i in range(100):
        with open(server_log) as file:
            if file.read().count(text) >= times:
                return
        time.sleep(0.1)
    raise Exception("the server has not said: " + text)

def refuses(text, *command):
    r = subprocess.run(["sqlblock"] + list(command), capture_output=True,
                       text=True)
    assert r.returncode != 0, command
    assert text in r.stderr, r.stderr

def check():
    "What was written and not flushed may be there, too."
    for number, version in flushed.items():
        found = h.pread(BLOCK, number * BLOCK)
        newer = int(found[8:15])
        assert newer >= version and found == pattern(number, newer), \
            "block %d is not as it was flushed" % number

def under_load(change):
    "Write and flush until the first failure; the change comes meanwhile."
    timer = threading.Timer(0.7, change)
    timer.start()
    end = time.time() + 20
    version = 0
    try:
        while time.time() < end:
            version += 1
            for number in range(0, BLOCKS, 7):
                write(number, version)
    except nbd.Error as error:
        assert error.errnum == errno.EIO, error
    else:
        raise Exception("writes go on")
    timer.join()

def closed():
    fails(h.pwrite, b"x" * BLOCK, 0)
    fails(h.flush)
    fails(h.trim, BLOCK, 0)
    check()

for number in range(BLOCKS):
    h.pwrite(pattern(number, 0), number * BLOCK)
h.flush()
flushed = {number: 0 for number in range(BLOCKS)}

if scenario == "load":
    under_load(lambda: remove(log))
    wait_for("all that was written is in the database now")
    closed()
elif scenario == "idle":
    write(1, 1)
    remove(log)
    wait_for("all that was written is in the database now")
    closed()
elif scenario == "rest":
    # The log is empty by now.
    time.sleep(2.5)
    remove(log)
    closed()
elif scenario == "both":
    under_load(lambda: remove(log, index))
    wait_for("all that was written is in the database now")
    closed()
elif scenario == "all":
    under_load(lambda: remove(log, index, db + "-lock"))
    wait_for("all that was written is in the database now")
    refuses("deleted or replaced while another process", "create", db, "new",
            "--size=1M")
    refuses("deleted or replaced while another process", "list", db)
    closed()
elif scenario == "end":
    # The server is ended before its thread looks.
    write(2, 1)
    remove(log)
elif scenario == "index":
    under_load(lambda: remove(index))
    wait_for("all that was written is in the database and its log")
    refuses("deleted or replaced while another process", "create", db, "new",
            "--size=1M")
    refuses("deleted or replaced while another process", "list", db)
    closed()
    assert not os.path.exists(index)
elif scenario == "guard":
    under_load(lambda: remove(db + "-lock"))
    wait_for("all that was written is in the database and its log")
    closed()
elif scenario in ("copy", "garbage"):
    def replace():
        if scenario == "copy":
            shutil.copy(log, db + ".aside")
        else:
            with open(db + ".aside", "wb") as file:
                file.write(os.urandom(100000))
        time.sleep(0.3)
        os.rename(db + ".aside", log)
    under_load(replace)
    wait_for("all that was written is in the database now")
    refuses("deleted or replaced while another process", "create", db, "new",
            "--size=1M")
    closed()
elif scenario == "back":
    # It may come back, before the thread has looked and afterwards.
    for seconds in 0, 3:
        write(3, seconds + 1)
        os.rename(log, db + ".aside")
        time.sleep(0.2)
        fails(h.pwrite, b"x" * BLOCK, 0)
        time.sleep(seconds)
        os.rename(db + ".aside", log)
        time.sleep(0.2)
        for number in range(100):
            write(number, 10 + seconds)
        connect().pwrite(pattern(5, 10 + seconds), 5 * BLOCK)
    check()
    # What is written since then is not in the database.
    os.rename(log, db + ".aside")
    fails(h.flush)
    with open(server_log) as file:
        since = file.read().split("is back in its place")[-1]
    assert "being moved" in since.splitlines()[1], since
    wait_for("all that was written is in the database now", times=2)
elif scenario == "pinned":
    # The server ends while another program keeps an old state.
    other = sqlite3.connect(db, isolation_level=None)
    other.execute("begin")
    other.execute("select count (*) from block").fetchall()
    write(1, 1)
    remove(log)
    fails(h.flush)
    h.shutdown()
    os.kill(int(sys.argv[4]), signal.SIGTERM)
    wait_for("what was only in it is lost, unless")
    other.execute("commit")
    other.close()
elif scenario == "foreign":
    # Another program makes an index of its own.
    time.sleep(2.5)
    remove(log, index)
    other = sqlite3.connect(db)
    other.execute("select count (*) from disk").fetchall()
    time.sleep(0.2)
    fails(h.pwrite, b"x" * BLOCK, 0)
    fails(h.pread, BLOCK, 0)
    wait_for("another program may be changing the database")
    other.close()
with open(socket + ".flushed", "w") as file:
    file.write(repr(flushed))
EOF2

cat >"$tmp/compare.py" <<'EOF2'
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
with open(sys.argv[2]) as file:
    flushed = eval(file.read())
assert len(flushed) == 512
for number, version in flushed.items():
    found = h.pread(4096, number * 4096)
    newer = int(found[8:15])
    wanted = (b"%07d %07d" % (number, newer)).ljust(64, b"x") * 64
    assert newer >= version and found == wanted, \
        "block %d: %r" % (number, found[:15])
h.pwrite(bytes(4096), 0)
h.flush()
EOF2

for scenario in load idle rest both all end index guard copy garbage back \
  pinned foreign; do
  rm -f "$db"* "$tmp"/s.*
  sqlblock create "$db" disk --size=16M --quiet
  start_nbdkit s "$plugin" "$db"
  timeout 100 python3 "$tmp/client.py" "$tmp/s" "$db" "$scenario" \
    "$nbdkit_pid" || {
    cat "$tmp/s.log" >&2
    fail "$scenario: see above"
  }
  case $scenario in
  end) stop_nbdkit ;;
  pinned) wait "$nbdkit_pid" 2>/dev/null || : ;;
  *) kill_nbdkit ;;
  esac
  if [ "$scenario" = copy ]; then
    # What is beside it is not its log, unless it was copied just as the log
    # started over, with nothing in it.
    timeout 20 nbdkit -U - "$plugin" "$db" --run true 2>"$tmp/out" || {
      grep -q "write-ahead log" "$tmp/out" || fail "$(cat "$tmp/out")"
      rm "$db-wal"
    }
  fi
  nbdkit -U - "$plugin" "$db" --run \
    "timeout 60 python3 '$tmp/compare.py' \"\$uri\" '$tmp/s.flushed'" \
    >"$tmp/out" 2>&1 || {
    cat "$tmp/out" "$tmp/s.log" >&2
    fail "$scenario: what was flushed is not there"
  }
  sqlblock check --no-progress "$db" >"$tmp/out" 2>&1 || {
    cat "$tmp/out" >&2
    fail "$scenario: check"
  }
  echo "  $scenario"
done
