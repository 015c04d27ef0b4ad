#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Fencing off the old connections of an attachment (plugin/fence.h): what is
# still on its way over one of them never happens after something newer, where
# ever it waits: in a filter, in front of a limit, in the socket, for a lock.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
use_memory
cd "$tmp"
db=disks.sqlite
sqlblock create -q "$db" web --size=64M
sqlblock create -q "$db" other --size=64M

# client [ARGUMENT...]: run the Python script on standard input.
client ()
{
  {
    cat <<'END'
import nbd, os, secrets, sqlite3, sys, threading, time
BLOCK = 4096
token = secrets.token_hex(16)
socket = os.environ.get("through", "s")

# The connections stay until the end, unless they are closed.
def attach(generation, disk="web", token=token):
    h = nbd.NBD()
    h.set_export_name("%s/attach/%s/%s" % (disk, token, generation))
    h.connect_unix(socket)
    return h

def refused(what, generation, disk="web", token=token):
    try:
        attach(generation, disk, token)
    except nbd.Error:
        return
    sys.exit("let in: " + what)

def fails(what, request, *arguments):
    try:
        request(*arguments)
    except nbd.Error:
        return
    sys.exit("not refused: " + what)

# Begin to write, and leave the rest to a thread.
writers = []
def begin(h, byte, requests=1):
    for n in range(requests):
        h.aio_pwrite(byte * BLOCK, 0)
    def wait():
        try:
            while h.aio_in_flight() > 0:
                h.poll(-1)
        except nbd.Error:
            pass
    writers.append(threading.Thread(target=wait, daemon=True))
    writers[-1].start()

def has(byte, offset=0, disk="web"):
    h = nbd.NBD()
    h.set_export_name(disk)
    h.connect_unix(socket)
    return h.pread(BLOCK, offset) == byte * BLOCK

def check(what, is_so):
    if not is_so:
        sys.exit("is not so: " + what)
END
    cat
  } >script.py
  timeout 60 python3 script.py "$@" || fail "$(cat script.py | tail -n 20)"
}

echo "over one connection, several, in any order"
start_nbdkit s "$plugin" "$db"
# Before 1.34 nbdkit may not survive their end.
older=0
nbdkit_is 1.34 || older=1
client $older <<'END'
old, idle = [attach(3), attach(3)], attach(3)
for n, h in enumerate(old):
    h.pwrite(b"a" * BLOCK, n * BLOCK)
    h.flush()
check("several", old[0].can_multi_conn() == (sys.argv[1] == "0"))
refused("an older one", 2)
new = attach(4)
for h in old:
    for request in ((h.pwrite, b"b" * BLOCK, 0), (h.trim, BLOCK, 0),
                    (h.zero, BLOCK, 0), (h.pread, BLOCK, 0), (h.flush,)):
        fails("an old one", *request)
check("nothing came after the fence", has(b"a") and has(b"a", BLOCK))
new.pwrite(b"c" * BLOCK, 0)
new.shutdown()
refused("one of them, while another one is there", 3)
del old, idle, h, request
# Nobody is there: it is the first again, and has nothing to send.
for attempt in range(100):
    try:
        late = attach(1)
        break
    except nbd.Error:
        time.sleep(0.05)
attach(5).pwrite(b"d" * BLOCK, 0)
fails("the late one", late.pwrite, b"e" * BLOCK, 0)
check("what was written last", has(b"d"))

# Others are others, by their token and with none.
mine, his = attach(6), attach(1, token=secrets.token_hex(16))
attach(2, token=secrets.token_hex(16))
plain = nbd.NBD()
plain.set_export_name("web")
plain.connect_unix(socket)
for h in mine, his, plain:
    h.pwrite(b"f" * BLOCK, 0)
for name in ("0", "x", "-1", "+1", "1x", "", "18446744073709551616", "1/2"):
    refused(name, name)
for other in (token[1:], token + "0", token[1:] + "X", ""):
    refused("token " + other, 1, token=other)
refused("another disk", 1, "none-such")
attach(1, "", secrets.token_hex(16)).pwrite(b"9" * BLOCK, 0)
check("no name is the oldest disk", has(b"9"))
END

echo "the disk grows under who attaches, and ends where it ends"
client <<'END'
h = attach(1)
size = 64 * 1024 * 1024
fails("behind the end", h.pread, BLOCK, size)
h = attach(2)
check("it is as large as a disk can be", h.get_size() >= 2 ** 62)
for request in ((h.pwrite, b"x" * BLOCK, size - BLOCK + 1),
                (h.pread, BLOCK, h.get_size() - BLOCK), (h.zero, BLOCK, size),
                (h.trim, 2 ** 30, size - BLOCK),
                (h.pwrite, b"x" * BLOCK, h.get_size() - BLOCK)):
    fails("behind the end", *request)
    h = attach(2)
os.system("sqlblock resize -q disks.sqlite web 80M") == 0 or sys.exit(1)
h.pwrite(b"g" * BLOCK, 80 * 1024 * 1024 - BLOCK)
check("it is there", has(b"g", 80 * 1024 * 1024 - BLOCK))
END
sqlblock resize -q --shrink "$db" web 64M

echo "a snapshot"
sqlblock snapshot create "$db" web@s
client <<'END'
old = attach(1, "web@s")
check("its size", old.get_size() == 64 * 1024 * 1024)
new = attach(2, "web@s")
fails("an old one", old.pread, BLOCK, 0)
new.pread(BLOCK, 0)
END

echo "inside, for a lock: the newer one waits until it has ended"
client <<'END'
database = sqlite3.connect("disks.sqlite", timeout=20, isolation_level=None)
old = attach(1)
old.pwrite(b"0" * BLOCK, 0)
database.execute("BEGIN IMMEDIATE")
begin(old, b"1")
opened = []
opening = threading.Thread(target=lambda: opened.append(attach(2)))
opening.start()
opening.join(1)
check("it waits", opened == [])
refused("an older one meanwhile", 1)
database.execute("ROLLBACK")
opening.join()
check("what had begun has ended", has(b"1"))
opened[0].pwrite(b"2" * BLOCK, 0)
check("what was written last", has(b"2"))
END

echo "in front of a limit, and in the socket"
client <<'END'
old = attach(1)
os.system("sqlblock set disks.sqlite web limit-bytes=64K") == 0 or sys.exit(1)
time.sleep(1.1)
old.pwrite(b"0" * BLOCK * 512, 0)
begin(old, b"3", 40)
began = time.monotonic()
new = attach(2)
for writer in writers:
    writer.join()
check("nobody waits for the end of the limit", time.monotonic() < began + 10)
os.system("sqlblock inherit disks.sqlite web limit-bytes") == 0 or sys.exit(1)
new.pwrite(b"4" * BLOCK, 0)
check("what was written last", has(b"4"))
END

echo "one writer at a time"
sqlblock set "$db" other exclusive=on
cat >holder.py <<'END'
import nbd, sys, time
h = nbd.NBD()
h.set_export_name("other/attach/%s/1" % sys.argv[1])
h.connect_unix("s")
open("attached", "w").close()
time.sleep(100)
END
token=$(printf 'ab%.0s' {1..16})
python3 holder.py "$token" &
started_pids+=($!)
wait_for test -e attached
client "$token" <<'END'
refused("another attachment", 1, "other")
new, second = [attach(2, "other", sys.argv[1]) for n in range(2)]
new.pwrite(b"5" * BLOCK, 0)
# A process is one client, so this is another one.
if os.system("timeout 20 python3 holder.py %032x 2>refused" % 1) != 256:
    sys.exit("let in: another attachment, still")
END
client <<'END'
attach(1, "other").pwrite(b"6" * BLOCK, 0)
check("who is fenced off keeps nobody away", has(b"6", 0, "other"))
END

echo "and its place is never free while it comes back"
cat >plain.py <<'END'
import nbd
h = nbd.NBD()
h.set_export_name("other")
h.connect_unix("s")
END
client <<'END'
import subprocess
database = sqlite3.connect("disks.sqlite", timeout=20, isolation_level=None)
old = attach(1, "other")
old.pwrite(b"0" * BLOCK, 0)
database.execute("BEGIN IMMEDIATE")
begin(old, b"1")
opened = []
opening = threading.Thread(target=lambda: opened.append(attach(2, "other")))
opening.start()
other = subprocess.Popen([sys.executable, "plain.py"],
                         stderr=subprocess.DEVNULL)
check("somebody else is refused", other.wait(20) != 0)
database.execute("ROLLBACK")
opening.join()
opened[0].pwrite(b"2" * BLOCK, 0)
END
sqlblock inherit "$db" other exclusive

echo "a token is that of a disk, and of a user"
client <<'END'
old = attach(1)
attach(9, "other")
old.pwrite(b"a" * BLOCK, 0)
attach(9, "web@s")
old.pwrite(b"b" * BLOCK, 0)
if os.geteuid() == 0:
    os.chmod(".", 0o711)
    os.chmod("s", 0o666)
    os.seteuid(65534)
    his = attach(9)
    os.seteuid(0)
    old.pwrite(b"c" * BLOCK, 0)
    his.pwrite(b"d" * BLOCK, 0)
new = attach(2)
fails("an old one", old.pwrite, b"e" * BLOCK, 0)
END

echo "who is not let in fences nobody off"
client <<'END'
old = attach(1)
os.system("sqlblock set disks.sqlite web allow=none") == 0 or sys.exit(1)
refused("by allow", 2)
old.pwrite(b"7" * BLOCK, 0)
END
sqlblock inherit "$db" web allow

if nbdkit nbd --version >version 2>&1; then
  echo "through another nbdkit, as for TLS"
  server=$nbdkit_pid
  start_nbdkit t nbd socket="$tmp/s" dynamic-export=true
  through=t client <<'END'
h = nbd.NBD()
h.set_export_name("web/lineage")
h.connect_unix("t")
check("it tells", h.pread(512, 0).startswith(b"sqlblock-lineage"))
old, new = attach(1), attach(2)
fails("an old one", old.pwrite, b"a" * BLOCK, 0)
new.pwrite(b"b" * BLOCK, 0)
END
  kill_nbdkit
  nbdkit_pid=$server
fi
kill_nbdkit

echo "in a filter, and where one disk is served"
start_nbdkit s --filter=delay "$plugin" "$db" export=web wdelay=1
client <<'END'
old = attach(1, "")
begin(old, b"8")
# nbdkit has it when nothing is left to be read.
import fcntl, struct, termios
while struct.unpack("i", fcntl.ioctl(old.aio_get_fd(), termios.TIOCOUTQ,
                                     b"1234"))[0] > 0:
    time.sleep(0.01)
new = attach(2, "")
new.zero(BLOCK, 0)
for writer in writers:
    writer.join()
check("what was written last", has(b"\0"))
refused("another disk", 3, "other")
END
kill_nbdkit
# Its end, which to a kernel is none of the disk.
cat >ends.py <<'END'
import errno, nbd, os, signal, socket, sys, time
def connect(name):
    h = nbd.NBD()
    h.set_export_name(name)
    h.connect_unix("s")
    return h
def ends(pid):
    for attempt in range(200):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return True
        time.sleep(0.05)
for number in signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("s")
    listener.listen()
    pid = os.fork()
    if pid == 0:
        os.dup2(listener.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ["LISTEN_FDS"] = "1"
        os.environ["LISTEN_PID"] = str(os.getpid())
        os.execvp("nbdkit", ["nbdkit"] + sys.argv[1:])
    listener.close()
    kernel, teller = connect("web/attach/%032x/1" % 7), connect("web/lineage")
    os.kill(pid, number)
    if not ends(pid):
        os.kill(pid, signal.SIGKILL)
        sys.exit("%s: it does not end while a disk is attached" % number)
    try:
        kernel.pread(512, 0)
        sys.exit("it is gone, and answers")
    except nbd.Error as error:
        if error.errnum == errno.ESHUTDOWN:
            sys.exit("%s: the device gets an error" % number)
    # Whoever has made the name goes on to listen there.
    os.unlink("s")
END
echo "a server that ends, of a service manager"
rm -f s
timeout 100 python3 ends.py "$plugin" "$db" || fail "the end of a server"

echo "a server that ends, when it has nobody attached any more"
start_nbdkit s "$plugin" "$db"
client <<END
told = nbd.NBD()
told.set_export_name("web/lineage")
told.connect_unix("s")
attach(1).shutdown()
told.shutdown()
plain = nbd.NBD()
plain.set_export_name("web")
plain.connect_unix("s")
time.sleep(0.5)
os.kill($nbdkit_pid, 15)
time.sleep(0.2)
try:
    plain.pread(512, 0)
    sys.exit("it answers")
except nbd.Error as error:
    check("it says that it ends", error.errnum == 108)
END
wait_for_end ()
{
  ! kill -0 "$nbdkit_pid" 2>/dev/null
}
wait_for wait_for_end
sqlblock check -q "$db"
