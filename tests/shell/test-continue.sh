#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Does a device that was attached go on when its server comes back? What servers
# tell before and after a break is compared, as "sqlblock attach" does it, for
# all that can happen meanwhile (lineage.h). test-attach.sh has the devices.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"

need nbdkit nbdsh python3
use_memory
cd "$tmp"
db=$tmp/d.sqlite

sqlblock ()
{
  "$top_builddir/tool/sqlblock" "$@"
}

# serve [PARAMETER...]: who connects waits until the server answers.
serve ()
{
  start_nbdkit s "$plugin" "$db" "$@"
}

# device ACTION...: what a device does, and its supervisor; BYTE: fill a mebibyte
# of web, which is not synced; FILE: ask what is told, as every two seconds;
# FILE/: copy the database with its log.
device ()
{
  python3 - "$tmp/s" "$export" "$@" <<'EOF' || fail "$this: the device"
import nbd, os, shutil, sys
def connect(name):
    handle = nbd.NBD()
    handle.set_export_name(name)
    handle.connect_unix(sys.argv[1])
    return handle
web = told = None
for action in sys.argv[3:]:
    if action.isdigit():
        web = web or connect("web")
        web.pwrite(bytes([int(action)]) * 1048576, 0)
    elif action.endswith("/"):
        os.mkdir(action)
        for name in ["d.sqlite", "d.sqlite-wal"]:
            shutil.copy(name, action)
    else:
        told = told or connect(sys.argv[2] + "/lineage")
        with open(action, "wb") as file:
            file.write(told.pread(told.get_size(), 0).rstrip(b"\0"))
EOF
}

# expect ANSWER: what the server tells now, after the file "before", must lead
# to that.
expect ()
{
  local answer
  device now
  answer=$("$top_builddir/tests/continues" before now)
  [[ $answer = *"$1"* ]] || fail "$this: $answer, and not: $1"
  kill_nbdkit
}

# begin DESCRIPTION [PARAMETER...]: the database of the directory "older" is
# served, copied to the directory "hot", and told of; then the server is killed.
begin ()
{
  this=$1
  shift
  echo "$this"
  rm -rf d.sqlite* hot
  cp older/d.sqlite .
  serve "$@"
  device 2 before hot/ 3 before
  kill_nbdkit
}

# put_back DIRECTORY: its files, into the same inodes.
put_back ()
{
  rm -f d.sqlite-wal d.sqlite-shm
  cp "$1"/* .
}

# move_back DIRECTORY: its files, as other ones.
move_back ()
{
  cp -r "$1" copy
  rm -f d.sqlite*
  mv copy/* .
  rmdir copy
}

export=web
sqlblock create -q "$db" web --size=4M
sqlblock create -q "$db" other --size=4M
sqlblock snapshot create -q "$db" web@old
this="at first"
serve
device 1
stop_nbdkit
mkdir older
mv d.sqlite older

lacks="the database lacks what it had"

begin "killed"
serve
expect "it goes on"

begin "killed, and stopped, and not asked"
for _ in 1 2 3; do
  serve
  device 4
  stop_nbdkit
done
serve
expect "it goes on"

begin "an older copy in the same file"
put_back older
serve
expect "$lacks"

begin "an older copy with its log in the same files"
put_back hot
serve
expect "$lacks"

begin "an older copy in the same file, which has gone on"
put_back hot
serve
device 4 later 5 later 6 later
expect "$lacks"

begin "an older copy in another file"
move_back older
serve
expect "another file"

begin "an older copy in another file, where all is synced" durable=always
move_back older
serve durable=always
expect "another file"

begin "an older copy, in which the disk was made anew" durable=always
put_back older
sqlblock delete -q --force --snapshots "$db" web
sqlblock create -q "$db" web --size=4M
serve durable=always
expect "another disk"

begin "the whole database in another file, where all is synced" durable=always
cp d.sqlite d.sqlite-wal hot
move_back hot
serve durable=always
expect "another file"

this="a copy in another file, made after it was told, where all is synced"
echo "$this"
rm -rf d.sqlite* hot
cp older/d.sqlite .
serve durable=always
device 2 before hot/ 3
kill_nbdkit
move_back hot
serve durable=always
expect "another file"

begin "a backup in another file"
sqlblock backup -q "$db" backup.sqlite
rm -f d.sqlite-*
mv backup.sqlite d.sqlite
serve
expect "another file"

begin "rolled back"
sqlblock rollback -q --force "$db" web@old
serve
expect "rolled back"

begin "deleted, and made anew"
sqlblock delete -q --force --snapshots "$db" web
sqlblock create -q "$db" web --size=4M
serve
expect "another disk"

begin "in the trash, and taken out again"
sqlblock set -q "$db" / trash=1d
sqlblock delete -q --snapshots "$db" web
sqlblock undelete -q "$db" web
serve
expect "rolled back"

begin "renamed, and named as before"
sqlblock rename -q "$db" web else
sqlblock rename -q "$db" else web
serve
expect "it goes on"

begin "larger"
sqlblock resize -q "$db" web 8M
serve
expect "it goes on"

begin "smaller, and larger again"
sqlblock resize -q --shrink "$db" web 1M
sqlblock resize -q "$db" web 4M
serve
expect "shrunk"

begin "compacted"
sqlblock snapshot delete -q "$db" web@old
sqlblock compact -q "$db"
serve
expect "it goes on"

begin "got other contents by import"
head -c 4194304 /dev/zero | sqlblock import -q --overwrite "$db" web -
serve
expect "rolled back"

begin "received what is new"
cp -r older source
sqlblock snapshot create -q source/d.sqlite web@new
sqlblock send -q source/d.sqlite web@new --from=old >stream
rm -r source
sqlblock rollback -q --force "$db" web@old
serve
device before
kill_nbdkit
sqlblock receive -q "$db" <stream
serve
expect "rolled back"

begin "what can be read in the same file"
sqlblock check --salvage=salvaged.sqlite "$db"
cp salvaged.sqlite d.sqlite
rm -f d.sqlite-* salvaged.sqlite
serve
expect "$lacks"

begin "what can be read in another file, where all is synced" durable=always
sqlblock check --salvage=salvaged.sqlite "$db"
rm -f d.sqlite*
mv salvaged.sqlite d.sqlite
serve durable=always
expect "another file"

begin "an older copy in the same file, where all is synced" durable=always
put_back older
serve durable=always
expect "$lacks"

begin "without its log, and taken as it is"
rm d.sqlite-wal d.sqlite-shm
sqlblock check --accept "$db"
serve
expect "$lacks"

begin "damaged, and repaired"
sqlblock compact -q "$db"
change "$db" "UPDATE block SET data = zeroblob (length (data))
  WHERE id = (SELECT max (id) FROM block WHERE length (data) > 0)"
sqlblock check --repair "$db" || :
serve
expect "$lacks"

begin "checked, and right"
sqlblock check --repair "$db"
serve
expect "it goes on"

begin "written anew by VACUUM"
sqlblock compact -q "$db"
change "$db" VACUUM
serve
expect "it goes on"

export=web@old
begin "a snapshot, in an older copy" durable=always
move_back older
serve
expect "it goes on"

begin "a snapshot, whose disk is rolled back"
sqlblock rollback -q --force "$db" web@old
serve
expect "it goes on"

begin "a snapshot, made anew"
sqlblock snapshot delete -q "$db" web@old
sqlblock snapshot create -q "$db" web@old
serve
expect "another disk or snapshot"

# Of an older format nothing is written, and it has no id.
this="upgraded"
echo "$this"
rm -f d.sqlite*
unpack_fixture "$srcdir/fixtures/format-5/everything" "$db"
export=$(sqlblock list -H -o NAME "$db" | head -n 1)
serve
device before
kill_nbdkit
sqlblock upgrade -q "$db"
serve
expect "it goes on"
export=web

# Where nothing is committed, nothing is counted.
this="idle"
echo "$this"
cp older/d.sqlite .
serve
device 2 before
device before
device before
wait_for test ! -s d.sqlite-wal
sum=$(sha256sum d.sqlite)
device now now now
[ ! -s d.sqlite-wal ] && [ "$(sha256sum d.sqlite)" = "$sum" ] ||
  fail "asking has written to an idle database"
kill_nbdkit

# elsewhere COMMAND...: with another boot_id than this machine's.
elsewhere ()
{
  nbdkit ()
  {
    exec "${own_mounts[@]}" bash -c 'mount --bind "$0" \
      /proc/sys/kernel/random/boot_id && exec nbdkit "$@"' "$tmp/boot" "$@"
  }
  "$@"
  unset -f nbdkit
}

sed 's/^./f/; s/.$/0/' /proc/sys/kernel/random/boot_id >boot
if ! elsewhere eval '(nbdkit --version)' >boot.log 2>&1; then
  echo "no other boot is tried: mounting needs root"
  exit
fi

begin "another boot"
elsewhere serve
expect "started anew"

begin "another boot, where all is synced only now"
elsewhere serve durable=always
expect "started anew"

begin "another boot, where all is synced" durable=always
elsewhere serve durable=always
expect "it goes on"

export=web@old
begin "another boot, and a snapshot"
elsewhere serve
expect "it goes on"
