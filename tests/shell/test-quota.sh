#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A disk with a quota, through a server: writes until ENOSPC, then reads,
# trims, deletions and overwriting go on, and other disks do not notice. The
# quota is set when the disk is made, and changed while the server runs.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
use_memory
cd "$tmp"
db=d.sqlite

cat >client.py <<'EOF2'
import errno, nbd, os, sys

def connect(name):
    h = nbd.NBD()
    h.connect_uri("nbd+unix:///%s?socket=%s" % (name, sys.argv[1]))
    return h

MIB = 1 << 20
web, other = connect("web"), connect("other")
noise = os.urandom(64 << 10)

def write(number, h=web):
    """True, or False for ENOSPC; nothing else may happen."""
    try:
        h.pwrite(noise, number * len(noise))
        return True
    except nbd.Error as error:
        assert error.errnum == errno.ENOSPC, error
        return False

def fill():
    """Write until there is no space; how many chunks."""
    number = 0
    while write(number):
        number += 1
        assert number < 1000
    return number

def step(text):
    print(text, flush=True)
    sys.stdin.readline()

assert fill() == 4 * MIB // len(noise)
assert other.pwrite(noise, 0) is None
assert web.pread(len(noise), 0) == noise
assert not write(100)
# In one batch with what fails, other requests succeed.
cookies = []
for i in range(200):
    buffer = nbd.Buffer.from_bytearray(bytearray(noise))
    cookies.append((web, web.aio_pwrite(buffer, MIB * 8 + i * len(noise))))
    cookies.append((other, other.aio_pwrite(buffer, i * len(noise))))
failed = 0
while cookies:
    for h, cookie in list(cookies):
        try:
            done = h.aio_command_completed(cookie)
        except nbd.Error as error:
            assert h is web and error.errnum == errno.ENOSPC, error
            failed += 1
            done = True
        if done:
            cookies.remove((h, cookie))
        else:
            h.poll(10)
assert failed == 200, failed
web.pwrite(noise, 0)
web.trim(MIB, 0)
assert write(100) and web.pread(len(noise), 0) == bytes(len(noise))
assert fill() == 15 and not write(200)
web.flush()
step("full")
# There is a snapshot now: each write needs space of its own.
assert not write(0)
web.trim(MIB, MIB)
assert not write(0) and web.pread(MIB, MIB) == bytes(MIB)
step("with a snapshot")
assert fill() == 31 # there was space for 16, of which one was 15
step("without")
assert fill() == 8 * MIB // len(noise)
step("larger")
assert write(300) and write(301)
EOF2

nbdkit -U - "$plugin" $db export=web size=64M quota=4M --run true
sqlblock create -q $db other --size=64M
start_nbdkit s "$plugin" $db
coproc client { timeout 100 python3 client.py "$tmp/s" 2>client.err; }
client_pid=$!

# await TEXT: the client says it, and waits.
await ()
{
  local text=
  read -r -t 60 text <&"${client[0]}" || :
  [ "$text" = "$1" ] || {
    cat client.err >&2
    fail "the client did not come to «$1»"
  }
}

# go_on: let the client go on.
go_on ()
{
  echo >&"${client[1]}"
}

# used: what counts for web.
used ()
{
  sqlblock info $db web --json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["quota_used"])'
}

await full
[ "$(used)" = $((4 << 20)) ] || fail "$(used) bytes are used"
sqlblock snapshot create -q $db web@full
go_on
await "with a snapshot"
[ "$(used)" = $((4 << 20)) ] || fail "$(used) bytes are used with a snapshot"
sqlblock snapshot delete -q $db web@full
[ "$(used)" = $((3 << 20)) ] || fail "$(used) bytes are used without"
go_on
await "without"
sqlblock set $db web quota=8M
go_on
await "larger"
sqlblock list $db | grep -q '^web *64M *8M ' || fail "list: $(sqlblock list $db)"
sqlblock set $db web quota=none
[ "$(used)" = None ] || fail "$(used) bytes are used without a quota"
go_on
wait "$client_pid" || {
  cat client.err >&2
  fail "the client failed"
}
grep -q "the quota of disk 'web' of 4194304 bytes" s.log ||
  fail "no message in the server's log"

# Set again, on a disk that has much: it is counted.
sqlblock set $db web quota=9M
[ "$(used)" = $(((8 << 20) + 131072)) ] || fail "$(used) bytes were counted"
kill_nbdkit

# A quota on a disk that is there must be the disk's.
nbdkit -U - "$plugin" $db export=web quota=9M --run true
expect_error "quota= asks for" nbdkit -U - "$plugin" $db export=web quota=1M \
  --run true
expect_error "quota= asks for" nbdkit -U - "$plugin" $db export=web \
  quota=none --run true
expect_error "quota" nbdkit -U - "$plugin" $db quota=0 --run true
expect_error "is not a quota" sqlblock set $db web quota=0
expect_error "is not a quota" sqlblock set $db web quota=much
expect_error "is not a quota" sqlblock create $db new --size=1M --quota=-1
expect_error "is a snapshot" sqlblock set $db web@full quota=1M
