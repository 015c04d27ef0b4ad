#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Snapshots as exports: their list, what they show while the disk is written
# on, the disk as of a time, and what clients see of changes that the command
# sqlblock makes beside them.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"

need nbdkit nbdsh nbdinfo nbdcopy python3
sqlblock=$top_builddir/tool/sqlblock
db=$tmp/disks.sqlite

# fill SOCKET EXPORT BYTE: the first 64 KiB become BYTE.
fill ()
{
  nbdsh -u "$(uri "$1" "$2")" -c "h.pwrite(bytes([$3]) * 65536, 0)" \
    -c "h.flush()"
}

# shows SOCKET EXPORT BYTE: they are that.
shows ()
{
  nbdsh -u "$(uri "$1" "$2")" \
    -c "assert h.pread(65536, 0) == bytes([$3]) * 65536, h.pread(1, 0)" ||
    fail "export $2 does not show $3"
}

# exports SOCKET: their names, in order.
exports ()
{
  nbdinfo --list --json "$(uri "$1")" | python3 -c '
import json, sys
print (*[export["export-name"] for export in json.load (sys.stdin)["exports"]])'
}

"$sqlblock" create "$db" web --size=1M
"$sqlblock" create "$db" mail --size=1M
start_nbdkit server "$plugin" db="$db"

# A snapshot shows what was there, however the disk goes on.
for byte in 1 2 3; do
  fill server web $byte
  "$sqlblock" snapshot create "$db" "web@s$byte"
done
fill server web 4
for byte in 1 2 3; do
  shows server "web@s$byte" $byte
done
shows server web 4
[ "$(exports server)" = "web mail web@s1 web@s2 web@s3" ] ||
  fail "the exports are $(exports server)"
nbdsh -u "$(uri server web@s1)" -c "assert h.is_read_only()" \
  -c "assert h.get_size() == 1048576"
nbdinfo "$(uri server web@s1)" | grep -q "as of 20.*[+-][0-9][0-9]:[0-9][0-9]" ||
  fail "an export does not tell of which time it is"
for missing in web@none web@ nobody@s1 web@s1@s2 web@2001-01-01; do
  if nbdinfo --size "$(uri server "$missing")" >/dev/null 2>&1; then
    fail "there is an export $missing"
  fi
done
grep -q "disk 'web' has no snapshot 'none'; it has: 's1' 's2' 's3'" \
  "$tmp/server.log" || fail "the log does not say which snapshots there are"
grep -q "no snapshot that was made by 2001-01-01" "$tmp/server.log" ||
  fail "the log does not say that there was nothing at that time"

# As of a time: the newest snapshot not after it, in each way to write it.
sleep 1.1
then=$(date +%s)
sleep 1.1
fill server web 5
"$sqlblock" snapshot create "$db" web@s5
for time in "$(date -d "@$then" +%Y-%m-%dT%H:%M:%S)" \
  "$(date -u -d "@$then" +%Y-%m-%dT%H:%M:%SZ)" \
  "$(TZ=UTC-5 date -d "@$then" +%Y-%m-%dT%H:%M:%S%:z)"; do
  shows server "web@$time" 3
done
shows server "web@2100-01-01" 5

# A snapshot that somebody looks at is not deleted. Where its disk is deleted by
# force, those who look at it see an error, no others.
"$sqlblock" clone -q "$db" web@s1 doomed
"$sqlblock" snapshot create -q "$db" doomed@s1
python3 - "$(uri server doomed@s1)" "$(uri server web@s2)" "$sqlblock" "$db" <<'EOF2'
import errno, nbd, subprocess, sys
first, second = nbd.NBD (), nbd.NBD ()
first.connect_uri (sys.argv[1])
second.connect_uri (sys.argv[2])
assert first.pread (512, 0) == b"\1" * 512
command, db = sys.argv[3:]
assert subprocess.run ([command, "snapshot", "delete", db,
                        "doomed@s1"]).returncode == 5
assert first.pread (512, 0) == b"\1" * 512
subprocess.run ([command, "delete", db, "doomed", "--snapshots", "--force"],
                check=True)
try:
    first.pread (512, 0)
    sys.exit ("a deleted snapshot can be read")
except nbd.Error as error:
    assert error.errnum == errno.EIO or not first.aio_is_ready (), error
assert second.pread (512, 0) == b"\2" * 512
second.shutdown ()
EOF2
"$sqlblock" snapshot delete -q "$db" web@s1
grep -q "the snapshot was deleted under this connection" "$tmp/server.log" ||
  fail "the log does not say that a snapshot was deleted"

# A disk that a client has open cannot be rolled back but by force, and then
# that client cannot mix old and new.
python3 - "$(uri server web)" "$sqlblock" "$db" <<'EOF2'
import errno, nbd, subprocess, sys
h = nbd.NBD ()
h.add_meta_context ("base:allocation")
h.connect_uri (sys.argv[1])
assert h.pread (1, 0) == b"\5"
command = [sys.argv[2], "rollback", sys.argv[3], "web@s2"]
refused = subprocess.run (command, stderr=subprocess.PIPE, text=True)
assert refused.returncode == 5, refused
assert "has the disk open for writing" in refused.stderr, refused.stderr
assert h.pread (1, 0) == b"\5"
subprocess.run (command + ["--force"], check=True)
for request in lambda: h.pread (1, 0), lambda: h.pwrite (b"x", 0), \
    lambda: h.trim (65536, 0), lambda: h.block_status (65536, 0, print):
    try:
        request ()
        sys.exit ("a connection goes on after a roll-back")
    except nbd.Error as error:
        assert error.errnum in (errno.EIO, errno.ESHUTDOWN), error
EOF2
shows server web 2
shows server web@s5 5

# Growth is seen by those who connect then; the new end is zeroes.
"$sqlblock" resize "$db" web 2M
nbdsh -u "$(uri server web)" -c "assert h.get_size() == 2097152" \
  -c "assert h.pread(1048576, 1048576) == bytes(1048576)"
nbdsh -u "$(uri server web@s5)" -c "assert h.get_size() == 1048576"
stop_nbdkit

# One disk, and its snapshots, alone; and without the list of them.
start_nbdkit one "$plugin" db="$db" export=web list-snapshots=false
[ "$(exports one)" = web ] || fail "the exports are $(exports one)"
shows one web@s3 3
if nbdinfo --size "$(uri one mail)" >/dev/null 2>&1; then
  fail "export=web serves mail"
fi
stop_nbdkit
start_nbdkit pinned "$plugin" db="$db" export=web@s3
shows pinned "" 3
nbdsh -u "$(uri pinned)" -c "assert h.is_read_only()"
stop_nbdkit
expect_error "has no snapshot 'none'" nbdkit -U - "$plugin" db="$db" \
  export=web@none --run true

# By itself: of what has changed only, thinned out by the rules.
start_nbdkit auto "$plugin" db="$db" auto-snapshot=1s keep=all:3s,1h:1d
for byte in 10 11 12 13 14 15; do
  fill auto web $byte
  sleep 1.1
done
sleep 4
"$sqlblock" snapshot list "$db" web
count=$("$sqlblock" snapshot list "$db" web --json |
  python3 -c 'import json, sys
print (sum (s["automatic"] for s in json.load (sys.stdin)["snapshots"]))')
# The newest of this hour; or two, where an hour has just begun.
[ "$count" = 1 ] || [ "$count" = 2 ] ||
  fail "$count automatic snapshots are left"
"$sqlblock" snapshot list "$db" mail | grep -c auto- | grep -qx 1 ||
  fail "a disk that did not change has not got one snapshot"
shows auto "web@$(date +%Y-%m-%dT%H:%M:%S)" 15
stop_nbdkit
for wrong in auto-snapshot=10 auto-snapshot=0s keep=1h:1d \
  "auto-snapshot=1h keep=1h" "auto-snapshot=1h keep=1h:1d,"; do
  # A list of words.
  expect_error "" nbdkit -U - "$plugin" db="$db" $wrong --run true
done

# A command that only reads leaves no log behind.
"$sqlblock" list "$db"
[ ! -e "$db-wal" ] || fail "the command list left a log behind"
