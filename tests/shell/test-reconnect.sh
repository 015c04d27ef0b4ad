#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Clients whose disk is deleted, rolled back or resized under them. What is no
# longer the disk that a client has opened fails. From nbdkit 1.34 on, clients
# that only read are disconnected then, so that they connect again and see what
# is there now; those that may write are refused, since a client that connects
# again by itself would write what belongs to the disk as it was. Whoever has
# something else open goes on.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3 grep
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

cd "$tmp"
db=$tmp/disks.sqlite
newer=
! nbdkit_is 1.34 || newer=yes

sqlblock ()
{
  "$top_builddir/tool/sqlblock" "$@"
}

# says COUNT TEXT: so often, at least, the server has said this.
says ()
{
  [ "$(grep -c -- "$2" s.log)" -ge "$1" ] || fail "«$2»: $(cat s.log)"
}

# told DISCONNECTED REFUSED: at least as many clients were, or none by an older
# nbdkit. After it the log is empty.
told ()
{
  if [ -n "$newer" ]; then
    says "$1" "(disconnecting the client)"
    says "$2" "(refusing its requests from now on)"
  elif grep -E "disconnecting|refusing" s.log; then
    fail "this nbdkit cannot do that"
  fi
  : >s.log
}

# clients: run the Python script on standard input, which has the variables
# and functions that stand here.
clients ()
{
  {
    cat <<'END'
import errno, nbd, subprocess, sys
sqlblock, db, socket, newer = sys.argv[1:]
MIB = 1 << 20

def connect(export):
    h = nbd.NBD()
    h.set_strict_mode(0)
    h.add_meta_context("base:allocation")
    h.set_export_name(export)
    h.connect_unix(socket)
    return h

def run(*command):
    subprocess.run([sqlblock, *command, "--quiet"], check=True)

def is_there(h):
    return h.aio_is_ready()

def fails(h, request):
    """The errno, or None without a connection."""
    try:
        request(h)
    except nbd.Error as error:
        return error.errnum if is_there(h) else None
    sys.exit("a request goes on on what is not there any more")

def gone(h, request):
    """What H has opened is not there any more."""
    reads = h.is_read_only()
    got = [fails(h, request), fails(h, request)]
    if not newer:
        expected = [errno.EIO, errno.EIO]
    elif reads:
        expected = [None, None]
    else:
        expected = [errno.EIO, errno.ESHUTDOWN]
    if got != expected:
        sys.exit("%r, expected %r" % (got, expected))

requests = [lambda h: h.pread(512, 0), lambda h: h.pwrite(b"x" * 512, 0),
            lambda h: h.trim(MIB, 0), lambda h: h.zero(MIB, 0),
            lambda h: h.block_status(MIB, 0, print)]
END
    cat
  } | python3 - "$top_builddir/tool/sqlblock" "$db" "$tmp/s" "$newer"
}

sqlblock create -q "$db" other --size=1M
sqlblock create -q "$db" web --size=2M
start_nbdkit s "$plugin" "$db"

# Rolled back: requests of each kind; and many that are under way.
clients <<'EOF2'
other, web = connect("other"), connect("web")
web.pwrite(b"1" * MIB, 0)
run("snapshot", "create", db, "web@one")
web.pwrite(b"2" * MIB, 0)
many, several = connect("web"), [connect("web") for _ in requests]
run("rollback", db, "web@one", "--force")
for h, request in zip(several, requests):
    gone(h, request)
buffer = nbd.Buffer(512)
cookies = [many.aio_pread(buffer, 512 * i) for i in range(16)]
for cookie in cookies:
    try:
        while not many.aio_command_completed(cookie):
            many.poll(-1)
        sys.exit("one of several requests goes on")
    except nbd.Error as error:
        assert error.errnum in (errno.EIO, errno.ESHUTDOWN), error
other.pwrite(b"o", 0, nbd.CMD_FLAG_FUA)
assert other.pread(1, 0) == b"o"
again = connect("web")
assert again.pread(MIB, 0) == b"1" * MIB
again.pwrite(b"3", 0)
assert again.pread(1, 0) == b"3"
EOF2
says 6 "rolled back under this connection; connect again"
told 0 6

# Deleted, and a snapshot with its disk.
clients <<'EOF2'
other = connect("other")
run("clone", db, "web@one", "clone")
run("snapshot", "create", db, "clone@s")
clone, snapshot = connect("clone"), connect("clone@s")
assert snapshot.pread(1, 0) == clone.pread(1, 0) == b"1"
run("delete", db, "clone", "--snapshots", "--force")
gone(clone, requests[1])
gone(snapshot, requests[0])
assert other.pread(1, 0) == b"o"
EOF2
says 1 "the disk was deleted"
says 1 "the snapshot was deleted"
told 1 1

# A disk that has grown: its clients go on, with the size that they know.
clients <<'EOF2'
web = connect("web")
run("resize", db, "web", "4M")
assert web.get_size() == 2 * MIB
web.pwrite(b"4", 2 * MIB - 1)
assert web.pread(1, 2 * MIB - 1) == b"4" and is_there(web)
again = connect("web")
assert again.get_size() == 4 * MIB
assert again.pread(2 * MIB, 2 * MIB) == bytes(2 * MIB)
EOF2
stop_nbdkit
if [ -s s.log ]; then
  fail "a disk has grown: $(cat s.log)"
fi

# Clients that only read. What was made smaller they read where it still is,
# and no zeroes where it is not.
start_nbdkit s -r "$plugin" "$db"
clients <<'EOF2'
web, mapper, across = [connect("web") for _ in range(3)]
assert web.pread(1, 2 * MIB - 1) == b"4"
run("resize", db, "web", "1M", "--shrink")
assert web.pread(2, MIB - 2) == b"11" and is_there(web)
web.block_status(MIB, 0, lambda *_: 0)
gone(web, lambda h: h.pread(1, 2 * MIB - 1))
gone(mapper, lambda h: h.block_status(MIB, MIB, print))
gone(across, lambda h: h.pread(2, MIB - 1))
web, mapper = connect("web"), connect("web")
assert web.get_size() == MIB and web.pread(1, 0) == b"3"
run("rollback", db, "web@one")
gone(web, requests[0])
gone(mapper, requests[4])
web = connect("web")
assert web.get_size() == 2 * MIB and web.pread(1, 0) == b"1"
EOF2
says 3 "the disk has shrunk; connect again to see its size"
told 5 0
stop_nbdkit
