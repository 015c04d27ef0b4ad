#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A database on a file system that other machines may share, one of FUSE here:
# by servers and commands it is only read, unless one says that no other
# machine has it open. Two mounts of one directory share no memory, as two
# machines do not.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh timeout bindfs fusermount3

cd "$tmp"
mkdir real one two
mounted=()
unmount ()
{
  local status=$? directory
  set +e
  for directory in ${mounted[@]+"${mounted[@]}"}; do
    fusermount3 -u -z "$tmp/$directory"
  done
  return "$status"
}
trap 'unmount; cleanup' EXIT
for directory in one two; do
  bindfs --no-allow-other real $directory 2>mount.log ||
    skip "mounting does not work here: $(cat mount.log)"
  mounted+=("$directory")
done

sqlblock ()
{
  "$top_builddir/tool/sqlblock" "$@"
}

# Nothing is made, and the message has the name of the file system.
fails 1 "(fuse" create one/disk.sqlite disk --size=1M
head -c 100000 /dev/urandom >image
fails 1 "one-machine" import one/disk.sqlite disk image --create
expect_error "(fuse" timeout 20 nbdkit -U - "$plugin" one/disk.sqlite \
  size=1M --run true
[ -z "$(ls real)" ] || fail "files were made: $(ls real)"

# With the override all works.
sqlblock create one/disk.sqlite disk --size=1M --one-machine --quiet
timeout 20 nbdkit -U - "$plugin" one/disk.sqlite one-machine=true \
  --run 'nbdsh -u "$uri" -c "h.pwrite(b\"a\" * 2**20, 0); h.flush()"'
sqlblock rename one/disk.sqlite disk other --one-machine --quiet
sqlblock rename one/disk.sqlite other disk --one-machine --quiet

# Without it nothing is written, by servers and commands alike; both mounts
# can be read, and what is read is right.
for where in one two; do
  before=$(cksum <real/disk.sqlite)
  for command in "create $where/disk.sqlite more --size=1M" \
    "rename $where/disk.sqlite disk other" \
    "snapshot create $where/disk.sqlite disk@s" \
    "delete $where/disk.sqlite disk" "compact $where/disk.sqlite" \
    "set $where/disk.sqlite disk quota=1M"; do
    # The words are arguments.
    # shellcheck disable=SC2086
    fails 1 "one-machine" $command
  done
  timeout 20 nbdkit -U - "$plugin" $where/disk.sqlite --run 'nbdsh -u "$uri" \
    -c "
assert h.is_read_only()
assert bytes(h.pread(2**20, 0)) == b\"a\" * 2**20"' >log 2>&1 ||
    fail "reading from $where: $(cat log)"
  grep -q "(fuse" log || fail "no warning: $(cat log)"
  sqlblock export $where/disk.sqlite disk - | cmp - \
    <(head -c $((1 << 20)) /dev/zero | tr '\0' a) || fail "export from $where"
  sqlblock list $where/disk.sqlite >log 2>&1 || fail "list: $(cat log)"
  [ "$before" = "$(cksum <real/disk.sqlite)" ] || fail "it has changed"
done

# A backup may go there: nobody else knows it.
sqlblock create local.sqlite disk --size=1M --quiet
sqlblock backup local.sqlite one/backup.sqlite --quiet
sqlblock list two/backup.sqlite >/dev/null

# Who reads by another mount notices a writer.
start_nbdkit w "$plugin" one/disk.sqlite one-machine=true
start_nbdkit r "$plugin" two/disk.sqlite
writer=$(uri w) reader=$(uri r) timeout 60 nbdsh -c '
import errno, os, time
h.connect_uri(os.environ["reader"])
w = nbd.NBD()
w.connect_uri(os.environ["writer"])
assert bytes(h.pread(2**20, 0)) == b"a" * 2**20
w.pwrite(b"b" * 2**20, 0)
w.flush()
noticed = False
end = time.monotonic() + 20
while time.monotonic() < end:
    try:
        data = bytes(h.pread(2**20, 0))
    except nbd.Error as error:
        assert error.errnum == errno.EIO, error
        noticed = True
        time.sleep(0.1)
        continue
    assert data in (b"a" * 2**20, b"b" * 2**20), "mixed data"
    if data[0] == ord("b"):
        break
assert noticed and data == b"b" * 2**20, "%s %r" % (noticed, data[:4])
' || fail "a reader on another mount: $(cat r.log)"
