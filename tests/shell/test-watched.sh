#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A server or a command that may not write the directory of a database reads
# it without its log, while another server writes: all that it reads is right,
# or it fails and says why; and when the other one has ended it goes on.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh setpriv unshare mount

cd "$tmp"
mkdir db
db=db/disk.sqlite
chmod 755 "$tmp" db
# For the other user's socket.
mkdir -m 777 sockets
cp "$plugin" plugin.so
cp "$top_builddir/tool/sqlblock" tool 2>/dev/null
case $(head -c 2 tool) in
  '#!') cp "$top_builddir/tool/.libs/sqlblock" tool ;;
esac

# One disk is left alone, and another is written over and over. The first one
# comes last in the index, among pages that move.
nbdkit -U - "$plugin" $db size=32M export=still block-size=4k \
  compression=none --run 'nbdsh -u "$uri" -c "
for i in range(32):
    h.pwrite(b\"s\" * 2**20, i * 2**20)
h.flush()"'
sqlblock=$top_builddir/tool/sqlblock
"$sqlblock" create $db busy --size=64M --compression=none --quiet
chmod 644 $db

cat >reader.py <<'EOF2'
"Read the still disk until the other side has ended; count what was read."
import errno
import os
import random
import subprocess
import time

import nbd

client = nbd.NBD()
client.connect_uri(os.environ["reader_uri"])
random.seed(1)
right = failed = 0

def read(count):
    "Read COUNT blocks, and tell how many could not be read."
    global right, failed
    failures = 0
    for _ in range(count):
        offset = random.randrange(8192) * 4096
        try:
            data = bytes(client.pread(4096, offset))
        except nbd.Error as error:
            assert error.errnum == errno.EIO, error
            failures += 1
            continue
        assert data == b"s" * 4096, \
            "wrong data at %d: %r" % (offset, data[:16])
        right += 1
    failed += failures
    return failures

assert read(3000) == 0, "nobody writes"
# Not each change of the ctime is one of the bytes.
if os.getuid() == 0:
    other = subprocess.Popen(["bash", "-c", "for i in {1..30}; do "
                              "chmod 664 $db; chmod 644 $db; sleep 0.15; done"])
    while other.poll() is None:
        assert read(10) == 0, "only the mode was changed"
open("go", "w").close()
while not os.path.exists("ended"):
    read(200)
assert failed > 0, "the writer was not noticed"
end = time.monotonic() + 10
while read(1) and time.monotonic() < end:
    time.sleep(0.1)
assert read(3000) == 0, "the writer has ended"
print("%d right, %d failed" % (right, failed))
EOF2

cat >writer.py <<'EOF2'
import os
import random
import time

import nbd

client = nbd.NBD()
client.connect_uri(os.environ["writer_uri"])
random.seed(2)
end = time.monotonic() + 5
while time.monotonic() < end:
    for _ in range(500):
        client.pwrite(os.urandom(4096), random.randrange(16384) * 4096)
    client.flush()
client.trim(2**26, 0)
client.flush()
EOF2

# says_why: the command that failed tells of the log, or of the lock file.
says_why ()
{
  grep -q -e "write-ahead log" -e "-lock: " command.out ||
    fail "unclear: $(cat command.out)"
}

# reads WRAPPER...: what is started in this wrapper cannot write. Without one
# that holds only while the server starts.
reads ()
{
  rm -f go ended sockets/r sockets/pid
  [ "$1" != env ] || chmod 555 db
  "$@" nbdkit -f -U "$tmp/sockets/r" -P "$tmp/sockets/pid" "$tmp/plugin.so" \
    "$tmp/$db" >reader.log 2>&1 &
  reader=$!
  started_pids+=("$reader")
  wait_for test -s sockets/pid
  [ "$1" != env ] || chmod 755 db
  db=$db reader_uri="nbd+unix:///still?socket=$tmp/sockets/r" \
    timeout 100 python3 reader.py >out 2>&1 &
  client=$!
  started_pids+=("$client")
  wait_for test -e go
  start_nbdkit w "$plugin" $db log-size=1M
  writer_uri=$(uri w busy) timeout 60 python3 writer.py
  # The commands meet the log of the other server.
  if "$@" ./tool export $db still - >out.raw 2>command.out; then
    cmp out.raw still.raw || fail "export: wrong data"
  else
    says_why
  fi
  "$@" ./tool backup $db sockets/out.sqlite >command.out 2>&1 || says_why
  rm -f out.raw sockets/out.sqlite
  expect_error "has the database open" "$@" ./tool check $db \
    --salvage=sockets/saved.sqlite
  [ ! -e sockets/saved.sqlite ] || fail "something was saved"
  stop_nbdkit
  touch ended
  wait "$client" || {
    cat reader.log out >&2
    fail "$*: see above"
  }
  cat out
  stop_nbdkit "$reader"
  # Some lines for a writer that came, was idle and so closed the database,
  # and went on; but not one for each request.
  grep -q "another program is changing the database" reader.log ||
    fail "no line in the log: $(cat reader.log)"
  grep -q "at rest again" reader.log || fail "no word of the end"
  [ "$(wc -l <reader.log)" -le 20 ] || fail "too much: $(head -n 30 reader.log)"
}

head -c $((1 << 25)) /dev/zero | tr '\0' s >still.raw
if [ "$(id -u)" != 0 ]; then
  reads env
  exit 0
fi
reads setpriv --reuid=65534 --regid=65534 --clear-groups
mounted_read_only db reads
