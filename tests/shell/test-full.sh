#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A real file system that is full, a small tmpfs and an ext4 on a loop
# device: what lacks space gets ENOSPC and changes nothing, reads go on,
# nothing acknowledged is lost, not by kill -9 either, and when there is
# space again all goes on without a restart.
#
# Mounting needs root; it is done in a mount namespace of this test.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3 unshare mount fallocate
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

in_own_mounts "$@"

cat >"$tmp/full.py" <<'EOF2'
import errno, json, nbd, os, random, sys

uri, step, state = sys.argv[1:4]
BLOCK = 4096
CHUNK = 16 * BLOCK
SIZE = 64 << 20
random.seed(1)
h = nbd.NBD()
h.connect_uri(uri)
kept = {}
if os.path.exists(state):
    with open(state) as file:
        kept = {int(k): v for k, v in json.load(file).items()}

def pattern(number, version):
    return random.Random(number * 1000 + version).randbytes(CHUNK)

def expected(number):
    version = kept.get(number, 0)
    return pattern(number, version) if version else bytes(CHUNK)

def check():
    """Every chunk is what was acknowledged last."""
    for number in range(SIZE // CHUNK):
        if h.pread(CHUNK, number * CHUNK) != expected(number):
            sys.exit("chunk %d is not as it was acknowledged" % number)

def attempt(call, *args):
    """True, or False for ENOSPC; nothing else may happen."""
    try:
        call(*args)
        return True
    except nbd.Error as error:
        assert error.errnum == errno.ENOSPC, error
        return False

def write(number, version, flags=0):
    done = attempt(h.pwrite, pattern(number, version), number * CHUNK, flags)
    if done:
        kept[number] = version
    return done

def fill(version):
    """Write until there is no space, and some more."""
    failures = written = 0
    for number in range(SIZE // CHUNK):
        if write(number, version):
            written += 1
        else:
            failures += 1
            if failures == 20:
                break
    print("  %d chunks written, then no space" % written)
    return failures

if step == "fill":
    assert fill(1) == 20, "the file system never became full"
    check()
    # Overwriting needs space in the log, too.
    for number in range(0, 40, 4):
        write(number, 2)
    # A trim works, or fails and changes nothing.
    for number in range(1, 40, 4):
        if attempt(h.trim, CHUNK, number * CHUNK):
            kept[number] = 0
        if attempt(h.zero, CHUNK, (number + 1) * CHUNK):
            kept[number + 1] = 0
    check()
    attempt(h.flush)
elif step == "check":
    check()
elif step == "go-on":
    for number in range(0, 200, 3):
        assert write(number, 3), "there is space, but no write works"
    assert attempt(h.trim, CHUNK, 7 * CHUNK)
    kept[7] = 0
    assert write(8, 4, nbd.CMD_FLAG_FUA)
    h.flush()
    check()
with open(state, "w") as file:
    json.dump(kept, file)
EOF2

# client STEP: run a step on the server.
client ()
{
  timeout 100 python3 "$tmp/full.py" "$(uri s)" "$1" "$tmp/state" || {
    tail -n 5 "$tmp/s.log" >&2
    fail "$name: $1"
  }
}

# run_on NAME: use the file system $mounts/NAME. It has about 24 MiB, of
# which a file takes 10 that goes away later.
run_on ()
{
  name=$1
  echo "$name:"
  local db=$mounts/$name/disk.sqlite filler=$mounts/$name/filler
  rm -f "$tmp/state"
  fallocate -l 10M "$filler"
  start_nbdkit s "$plugin" "$db" size=64M
  client fill
  client check
  kill_nbdkit
  # To open it takes some pages, for the shared memory of the log.
  truncate -s 9M "$filler"
  start_nbdkit s "$plugin" "$db"
  client check
  client fill
  rm "$filler"
  client go-on
  kill_nbdkit
  start_nbdkit s "$plugin" "$db"
  client check
  client go-on
  kill_nbdkit
}

mkdir "$mounts/tmpfs" "$mounts/ext4"
mount -t tmpfs -o size=24M none "$mounts/tmpfs" ||
  skip "no tmpfs can be mounted"
run_on tmpfs

if type -P mkfs.ext4 >/dev/null; then
  truncate -s 32M "$tmp/image"
  mkfs.ext4 -q -F "$tmp/image"
  if mount -o loop "$tmp/image" "$mounts/ext4"; then
    run_on ext4
  else
    echo "no loop device can be mounted: ext4 was not tried"
  fi
fi
