#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What a client hears that is not let in: that, and nothing of what the server's
# log says of files, processes and other disks. nbdkit 1.42 and newer send the
# last error with their answer; older ones send no text.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh sqlite3 xz
PATH=$top_builddir/tests:$top_builddir/tool:$PATH
cd "$tmp" || exit 1

# ask.py SOCKET|COMMAND OPTION...: what the server answers, or one that this
# command starts, to each option of a client that has no disk yet: "list", "go
# NAME", "info NAME" or "other", which no server knows. For each a line: ok or
# refused, and the text that came with it.
cat >ask.py <<'EOF2'
import os, shlex, socket, struct, subprocess, sys
if os.path.exists(sys.argv[1]):
    server = socket.socket(socket.AF_UNIX)
    server.connect(sys.argv[1])
else:
    server, other = socket.socketpair()
    subprocess.Popen(shlex.split(sys.argv[1]), stdin=other, stdout=other)
    other.close()
server.settimeout(20)
stream = server.makefile("rb")
stream.read(18)
server.sendall(struct.pack(">I", 1))
for option in sys.argv[2:]:
    kind, _, name = option.partition(" ")
    name = os.fsencode(name)
    go = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
    number, data = {"list": (3, b""), "info": (6, go), "go": (7, go),
                    "other": (99, b"")}[kind]
    server.sendall(struct.pack(">QII", 0x49484156454F5054, number, len(data))
                   + data)
    reply = 2
    while reply not in (1,) and reply < 1 << 31:
        reply, length = struct.unpack(">QIII", stream.read(20))[2:]
        text = stream.read(length)
    print(*["ok"] if reply == 1 else ["refused:", text.decode()])
EOF2

# Does this nbdkit send texts?
version=$(nbdkit --version)
version=${version#nbdkit }
oldest=$(printf '%s\n' 1.42 "$version" | sort -V | head -1)
[ "$oldest" = 1.42 ] && sends=yes || sends=

# hears SERVER|COMMAND TEXT OPTION...: the last option is refused with this text, and
# all are answered with nothing that is not said here.
hears ()
{
  local server=$1 text=$2
  shift 2
  python3 ask.py "$server" "$@" >heard
  [ "$(tail -n 1 heard)" = "refused: ${sends:+$text}" ] ||
    fail "$server was asked $*: $(cat heard), not «$text»"
  if grep -qE "$(uname -n)|process|$tmp|secret|sqlite" heard; then
    fail "$server was asked $*, and says too much: $(cat heard)"
  fi
}

# logged SERVER TEXT
logged ()
{
  grep -qE -- "$2" "$1.log" || {
    cat "$1.log" >&2
    fail "the log of $1 does not say «$2»"
  }
}

none="there is no such export; the server's log says more"
used="the export is in use; the server's log says by whom"
failed="the export cannot be served; the server's log says why"
warned="the server's log has a warning"

# A name that no disk has, and no snapshot.
sqlblock -q create disks.sqlite secret --size=1M
sqlblock -q create disks.sqlite web --size=1M
sqlblock -q snapshot create disks.sqlite web@secret-1
start_nbdkit a "$plugin" disks.sqlite list-snapshots=false
for option in "go nobody" "info nobody" "go web@nothing" "go a'b" "go @"; do
  hears a "$none" "$option"
done
logged a "there is no disk 'nobody'; .*'secret'"
logged a "has no snapshot 'nothing'.*secret-1"
hears a "$none" "go nobody" list "info secret" "info nobody"

# Another disk than that of export=, and none where that is gone.
start_nbdkit one "$plugin" disks.sqlite export=web list-snapshots=false
hears one "$none" "go disk"
hears one "$none" "go secre"
hears one "$none" "go other@monday"
logged one "this server has only the export 'web'"
start_nbdkit gone "$plugin" disks.sqlite export=secret
sqlblock -q delete disks.sqlite secret
hears gone "$none" "go secret"
hears gone "$none" list
hears gone "$none" "go "
logged gone "there is no disk 'secret'; .*'web'"

# The default export of a database that has no disk is nbdkit's to refuse.
sqlblock -q create none.sqlite secret --size=1M
start_nbdkit none "$plugin" none.sqlite
sqlblock -q delete none.sqlite secret
python3 ask.py none "go " list >heard
grep -q "^refused" heard || fail "an empty database has a disk: $(cat heard)"
if grep -q sqlite heard; then
  fail "an empty database: $(cat heard)"
fi

# A disk that another server writes, or that another program has locked.
nbdsh -u "$(uri a web)" -c "
import time
h.pwrite(b'held', 0)
open('held', 'w').close()
time.sleep(300)" &
holder=$!
started_pids+=("$holder")
wait_for test -e held
start_nbdkit b "$plugin" disks.sqlite
hears b "$used" "go web"
logged b "process [0-9]+ on .* has the disk open for writing"

# libnbd 1.22 and newer show it to people.
libnbd=$(nbdsh --version | sed -n 's/^libnbd //p')
oldest=$(printf '%s\n' 1.22 "$libnbd" | sort -V | head -1)
if [ -n "$sends" ] && [ "$oldest" = 1.22 ]; then
  expect_error "$used" nbdsh -u "$(uri b web)" -c pass
fi
kill "$holder"
wait "$holder" 2>/dev/null || :

# A disk with a feature that this program does not know: refused, or served
# with a warning, which is not to be the answer to what the client asks next.
for class in 2 3; do
  sqlblock -q create disks.sqlite "odd$class" --size=1M
  seal disks.sqlite live "INSERT INTO feature SELECT $class,
    'secret$class', id, $class, 0 FROM disk WHERE name = 'odd$class'"
done
hears a "$failed" "go odd3"
logged a "secret3"
hears a "$warned" "info odd2" other
logged a "warning: .*secret2"
hears a "$none" "info odd2" "info nobody" "info odd2" "go nobody"

# A file that is damaged.
sqlite3 disks.sqlite "UPDATE disk SET size = size + 1 WHERE name = 'web'"
hears a "$failed" "go web"
logged a "damaged"

# With -s the client comes on the thread that has opened the database, and
# warned that it has an older format.
unpack_fixture "$srcdir/fixtures/format-5/everything" old.sqlite
hears "nbdkit -s '$plugin' old.sqlite" "$warned" other 2>s.log
logged s "warning: .*old.sqlite"
