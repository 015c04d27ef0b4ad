#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The table of other programs in the manual ("Other programs" in
# nbdkit-sqlblock-plugin), row by row: what the file says after each, and which
# command accepts it. test-sqlite-copies.sh has .backup, Connection.backup,
# VACUUM INTO and journal_mode, test-litestream.sh Litestream.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh nbdcopy sqlite3 python3
PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=disks

sqlblock create -q base web --size=4M --compression=none
head -c 2M /dev/urandom >raw
sqlblock import -q base web raw --overwrite

# begin: a server of a new database, of which a part is in the log.
begin ()
{
  rm -f "$db" "$db"-*
  cp base "$db"
  start_nbdkit s "$plugin" "$db"
  put A
}

# put LETTER: write and flush it.
put ()
{
  nbdsh -u "$(uri s web)" -c "h.pwrite(b'$1' * 65536, 65536); h.flush()"
}

# shows FILE LETTER: does it?
shows ()
{
  [ "$(nbdkit -r -U - "$plugin" "$1" export=web --run \
    'nbdsh -u "$uri" -c "print(h.pread(65536, 65536)[70:71].decode())"')" = \
    "$2" ] || fail "$1 does not show $2"
}

# right FILE LETTER: all is well.
right ()
{
  sqlblock check -q "$1" || fail "$1 is not right"
  shows "$1" "$2"
}

empty_log ()
{
  # Readers of the server may have a transaction for some time.
  [ "$(sqlite3 "$db" "SELECT count (*) FROM disk;
    PRAGMA wal_checkpoint (TRUNCATE)" | tail -n 1)" = "0|0|0" ]
}

# --- PRAGMA wal_checkpoint ---------------------------------------------------

# Beside a server that goes on.
begin
wait_for empty_log
put B
kill_nbdkit
right "$db" B

# Beside one that is killed before it writes again.
begin
wait_for empty_log
kill_nbdkit
expect_error "check --accept" sqlblock list "$db"
sqlblock check -q --accept "$db"
right "$db" A

# After a crash; so is the end of any such program that wrote or read there.
begin
kill_nbdkit
wait_for empty_log
expect_error "check --accept" sqlblock list "$db"
sqlblock check -q --accept "$db"
right "$db" A

# One that may only read leaves the log and its files to others.
begin
kill_nbdkit
before=$(cksum "$db" "$db-wal")
sqlite3 -readonly "$db" "SELECT count (*) FROM block" >/dev/null
[ "$before" = "$(cksum "$db" "$db-wal")" ] || fail "-readonly changes the file"
right "$db" A

# --- VACUUM, ANALYZE ---------------------------------------------------------

cp base rest
sqlite3 rest VACUUM
sqlblock check rest 2>&1 | grep -q "without a checksum" || fail "VACUUM"
sqlblock check -q --repair rest
! sqlblock check rest 2>&1 | grep -q "without a checksum" || fail "VACUUM"
begin
sqlite3 "$db" VACUUM
put B
stop_nbdkit
right "$db" B

# A change of what stands in the file leaves wrong checksums there, unless our
# own program moves it out of the log.
cp base rest
sqlite3 rest ANALYZE
expect_error "does not fit its checksum" sqlblock check rest
expect_error "check" nbdkit -U - "$plugin" rest --run true
sqlblock check -q --repair rest
sqlblock check -q rest
begin
sqlite3 "$db" ANALYZE
put B
stop_nbdkit
right "$db" B

# --- .dump, sqlite3_rsync ----------------------------------------------------

sqlite3 base .dump | sqlite3 dumped
expect_error "not one of sqlblock" sqlblock list dumped

if type -P sqlite3_rsync >/dev/null; then
  begin
  sqlite3_rsync "$db" copied
  put B
  sqlite3_rsync "$db" copied || fail "sqlite3_rsync beside a server"
  sqlblock list copied >/dev/null 2>&1 || sqlblock check -q --accept copied
  right copied B
  stop_nbdkit
else
  echo "sqlite3_rsync was not tried: it is not there"
fi

# --- Programs that copy files ------------------------------------------------

# Both files as they were at one moment, here of a server that is stopped, are a
# copy as after a power cut, while clients write.
begin
nbdsh -u "$(uri s web)" -c '
import itertools
for i in itertools.count():
    h.pwrite(bytes([i % 256]) * 65536, i % 16 * 65536)' 2>/dev/null &
started_pids+=($!)
for number in 1 2 3 4 5; do
  sleep "0.$number"
  kill -STOP "$nbdkit_pid"
  cp "$db" "moment$number"
  cp "$db-wal" "moment$number-wal"
  kill -CONT "$nbdkit_pid"
done
kill_nbdkit
for number in 1 2 3 4 5; do
  sqlblock check -q "moment$number" || fail "a copy of one moment is not right"
done

# The file alone is not, and says so.
begin
cp "$db" alone
put B
stop_nbdkit
expect_error "check --accept" sqlblock list alone

# So does a snapshot of a file system, where one can be mounted.
cat >snapshot <<'EOF2'
set -e
truncate -s 256M btrfs
mkfs.btrfs -q btrfs
mkdir volume
mount -o loop btrfs volume || exit 77
btrfs -q subvolume create volume/disks
EOF2
cat >during <<'EOF2'
set -e
. ./snapshot
cp base volume/disks/disks
nbdkit -U "$PWD/v" -P "$PWD/v.pid" "$1" volume/disks/disks
nbdsh -u "nbd+unix:///web?socket=$PWD/v" -c '
import subprocess
for i in range(200):
    h.pwrite(bytes([i % 256]) * 65536, i % 16 * 65536)
    if i == 100:
        h.flush()
        subprocess.check_call(["btrfs", "-q", "subvolume", "snapshot", "-r",
                               "volume/disks", "volume/then"])'
kill -9 "$(cat v.pid)"
mkdir then
cp volume/then/disks volume/then/disks-wal then/
sqlblock check -q then/disks
EOF2
if type -P mkfs.btrfs btrfs >/dev/null &&
  "${own_mounts[@]}" bash "$tmp/snapshot" >/dev/null 2>&1; then
  rm -rf btrfs volume
  "${own_mounts[@]}" bash "$tmp/during" "$plugin" ||
    fail "a snapshot of the file system is not right"
else
  echo "a snapshot of btrfs was not tried: it cannot be mounted here"
fi
rm -rf btrfs

# --- A reader that stays -----------------------------------------------------

# It costs log, and nobody waits for it for long.
begin
coproc READER { exec sqlite3 -batch -readonly "$db" 2>&1; }
started_pids+=("$READER_PID")
printf 'BEGIN; SELECT count (*) FROM block;\n' >&"${READER[1]}"
read -r _ <&"${READER[0]}"
nbdsh -u "$(uri s web)" -c '
import time
worst = 0
for i in range(400):
    start = time.monotonic()
    h.pwrite(bytes([i % 256]) * 65536, i % 16 * 65536)
    worst = max(worst, time.monotonic() - start)
assert worst < 10, worst'
printf 'ROLLBACK;\n.quit\n' >&"${READER[1]}"
wait "$READER_PID" || :
stop_nbdkit
sqlblock check -q "$db"
