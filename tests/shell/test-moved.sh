#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A database that is renamed, deleted or replaced under a running server:
# nothing of another file is ever read, nothing is written until the file is
# back, and the log says what is wrong.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh

db=$tmp/disk.sqlite

# make_disk FILE BYTE: 16 MiB of the byte.
make_disk ()
{
  nbdkit -U - "$plugin" "$1" size=16M --run "nbdsh -u \"\$uri\" -c '
for i in range(16): h.pwrite(b\"$2\" * 2**20, i * 2**20)'"
}

make_disk "$db" a
make_disk "$tmp/other.sqlite" b

cat >"$tmp/client.py" <<'EOF2'
import errno
import os
import time

import nbd

def connect(readonly=False):
    client = nbd.NBD()
    client.connect_uri(os.environ["uri"])
    assert client.is_read_only() == readonly
    return client

def read_all(clients):
    "Read so much at once that the server opens more connections."
    cookies = []
    for i in range(64):
        client = clients[i % len(clients)]
        buffer = nbd.Buffer(2**20)
        cookies.append((client, buffer,
                        client.aio_pread(buffer, i % 16 * 2**20)))
    for client, buffer, cookie in cookies:
        while not client.aio_command_completed(cookie):
            client.poll(-1)
        bytes = buffer.to_bytearray()
        assert bytes == b"a" * 2**20, "other bytes: %r" % bytes[:10]

def fails(function, *arguments):
    try:
        function(*arguments)
    except nbd.Error as error:
        assert error.errnum == errno.EIO, error
    else:
        raise Exception("this was to fail")

def check_away():
    "The file is not in its place."
    time.sleep(0.2)
    fails(first.pwrite, b"c", 0)
    fails(first.trim, 2**20, 0)
    fails(first.flush)
    read_all([first, connect(readonly=True)])

def check_back():
    "It is back."
    time.sleep(0.2)
    first.pwrite(b"a" * 5000, 2**20)
    first.flush()
    connect().pwrite(b"a", 7)

db = os.environ["db"]
aside = db + ".aside"
other = os.environ["other"]
link = os.environ["link"]

first = connect()
first.pwrite(b"b", 0)
first.pwrite(b"a", 0)

scenario = os.environ["scenario"]
if scenario == "link": # which is followed once
    os.remove(link)
    os.symlink(other, link)
    read_all([first, connect()])
elif scenario == "renamed":
    os.rename(db, aside)
    size = os.path.getsize(db + "-wal")
    check_away()
    time.sleep(3) # the log would be empty by now
    assert os.path.getsize(db + "-wal") == size > 0
    os.rename(aside, db)
elif scenario == "replaced":
    os.rename(db, aside)
    os.rename(other, db)
    check_away()
    os.rename(db, other)
    os.rename(aside, db)
elif scenario == "deleted":
    os.link(db, aside)
    os.remove(db)
    check_away()
    os.rename(aside, db)
check_back()
EOF2

# Each with a new server, which has only one connection open to read.
for scenario in link renamed replaced deleted; do
  ln -sf disk.sqlite "$tmp/link.sqlite"
  start_nbdkit s "$plugin" "$tmp/link.sqlite"
  scenario=$scenario db=$db other=$tmp/other.sqlite link=$tmp/link.sqlite \
    uri=$(uri s) timeout 100 python3 "$tmp/client.py" || {
    cat "$tmp/s.log" >&2
    fail "$scenario: see above"
  }
  stop_nbdkit
done
for text in "was renamed, deleted or replaced" "is back in its place"; do
  grep -qF -- "$text" "$tmp/s.log" || fail "«$text» is not in the log"
done

# A server that ends without its file leaves the log, which has the last
# writes: they are there when both are together again.
start_nbdkit s "$plugin" "$db"
nbdsh -u "$(uri s)" -c "h.pwrite(b'last', 100); h.flush()"
mv "$db" "$tmp/aside.sqlite"
stop_nbdkit
mv "$tmp/aside.sqlite" "$db"
nbdkit -U - -r "$plugin" "$db" --run "nbdsh -u \"\$uri\" -c '
assert bytes(h.pread(4, 100)) == b\"last\"'"
