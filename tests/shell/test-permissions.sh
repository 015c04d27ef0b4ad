#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Who may read and write a database: it is made for its owner alone,
# whatever the umask; a server that gives up root makes and serves it as
# the other user; what cannot be written is served read-only, unless
# a -wal that holds a part of it would have to be written back.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdinfo nbdcopy python3 stat cmp timeout

cd "$tmp"
head -c 100000 /dev/urandom >data

# mode FILE...: each file is there, readable and writable by its owner.
mode ()
{
  local file
  for file; do
    [ -e "$file" ] || fail "there is no $file"
    [ "$(stat -c %a "$file")" = 600 ] ||
      fail "$file has mode $(stat -c %a "$file")"
  done
}

for mask in 000 022 077; do
  umask $mask
  start_nbdkit s "$plugin" $mask.sqlite size=100000
  nbdcopy data "$(uri s)"
  mode $mask.sqlite $mask.sqlite-wal $mask.sqlite-shm
  kill_nbdkit
  mode $mask.sqlite $mask.sqlite-wal
  start_nbdkit s "$plugin" $mask.sqlite
  nbdcopy data "$(uri s)"
  mode $mask.sqlite $mask.sqlite-wal $mask.sqlite-shm
  stop_nbdkit
done
umask 022

# The guards that are there get the mode of the database, too.
chmod 664 022.sqlite
start_nbdkit s "$plugin" 022.sqlite
nbdcopy data "$(uri s)"
[ "$(stat -c %a 022.sqlite-lock)" = 664 ] ||
  fail "the lock has mode $(stat -c %a 022.sqlite-lock)"
stop_nbdkit

# But their owner can write them, also when the database may be written again.
"$top_builddir/tool/sqlblock" snapshot create -q 022.sqlite @kept --all
chmod 444 022.sqlite
"$top_builddir/tool/sqlblock" export -q 022.sqlite disk@kept kept.raw
[ "$(stat -c %a 022.sqlite-lock)" = 644 ] ||
  fail "of a file that is only read the lock has mode" \
    "$(stat -c %a 022.sqlite-lock)"
rm -f 022.sqlite-shm 022.sqlite-wal
chmod 600 022.sqlite

# A clean database, and one whose data is still in the -wal.
mkdir media
cp 022.sqlite media/clean.sqlite
[ ! -s 022.sqlite-wal ] || fail "a clean stop leaves a -wal with content"
cp data data.clean
head -c 100000 /dev/urandom >data
start_nbdkit s "$plugin" 022.sqlite
nbdcopy data "$(uri s)"
kill_nbdkit
[ -s 022.sqlite-wal ] || fail "no -wal after a kill"
cp 022.sqlite media/crashed.sqlite
cp 022.sqlite-wal media/crashed.sqlite-wal
chmod 644 media/*
ln -s media/crashed.sqlite link.sqlite
cp "$plugin" plugin.so
chmod 755 "$tmp"
# For the other user's socket: -U - would use another directory.
mkdir -m 777 sockets

# look URI FILE: the disk is read-only and has the bytes of the file.
cat >look <<'EOF2'
set -e
nbdinfo "$1" | grep -q 'is_read_only: true' || {
  echo "the disk can be written"
  exit 1
}
nbdcopy "$1" - | cmp - "$2"
EOF2

# serve WRAPPER... -- ARGUMENT...: nbdkit in this wrapper, for one --run.
serve ()
{
  local wrapper=()
  while [ "$1" != -- ]; do
    wrapper+=("$1")
    shift
  done
  shift
  rm -f sockets/s
  timeout 20 "${wrapper[@]}" nbdkit -U "$tmp/sockets/s" "$@"
}

# read_only WRAPPER...: in this wrapper nothing in media can be written.
read_only ()
{
  find media -printf '%P %m %s %T@\n' | sort >before
  serve "$@" -- ./plugin.so media/clean.sqlite \
    --run 'bash look "$uri" data.clean' >log 2>&1 ||
    fail "read-only: $(cat log)"
  serve "$@" -- -r ./plugin.so media/clean.sqlite \
    --run 'bash look "$uri" data.clean' >log 2>&1 ||
    fail "read-only with -r: $(cat log)"
  expect_error crashed.sqlite serve "$@" -- \
    ./plugin.so media/crashed.sqlite --run true
  grep -q -e wal expect.out || fail "unclear: $(cat expect.out)"
  expect_error "has a write-ahead log" serve "$@" -- ./plugin.so link.sqlite \
    --run true
  expect_error new.sqlite serve "$@" -- \
    ./plugin.so media/new.sqlite size=1M --run true
  expect_error clean.sqlite serve "$@" -- \
    ./plugin.so media/clean.sqlite export=more size=1M --run true
  find media -printf '%P %m %s %T@\n' | sort | diff before - ||
    fail "media changed"
}

# By permission: as an ordinary user in a directory of somebody else's (or
# one's own that is closed).
if [ "$(id -u)" = 0 ]; then
  need setpriv
  read_only setpriv --reuid=65534 --regid=65534 --clear-groups
else
  chmod 444 media/*
  chmod 555 media
  read_only env
  chmod 755 media
  chmod 644 media/*
fi

# With -r all can be read, also what is in a -wal; the files stay.
cp media/crashed.sqlite* .
before=$(cat crashed.sqlite crashed.sqlite-wal | cksum)
timeout 20 nbdkit -r -U - "$plugin" crashed.sqlite \
  --run 'bash look "$uri" data' >log 2>&1 || fail "-r: $(cat log)"
cat crashed.sqlite crashed.sqlite-wal | cksum >after
[ "$before" = "$(cat after)" ] || fail "-r changed crashed.sqlite"

[ "$(id -u)" = 0 ] || exit 0

# Read-only media: the same directory, mounted so for this process only.
mounted_read_only media read_only

# Who may only read a file can export its snapshots, also without a lock file.
cp "$top_builddir/tool/sqlblock" command
mkdir shared
./command create -q shared/disk.sqlite web --size=1M
./command snapshot create -q shared/disk.sqlite web@a
rm -f shared/disk.sqlite-lock
chmod 644 shared/disk.sqlite
chmod 777 shared "$tmp"
size=$(setpriv --reuid=65534 --regid=65534 --clear-groups \
  ./command export -q shared/disk.sqlite web@a - | wc -c)
[ "$size" = 1048576 ] || fail "a reader has exported $size bytes"

# Who may only read it makes no file that would be in the owner's way, whatever
# he does; and where there is one, the owner is told which.
owner=(setpriv --reuid=1 --regid=1 --clear-groups)
guest=(setpriv --reuid=65534 --regid=65534 --clear-groups)
: >shared/log
chmod 666 shared/log
renew ()
{
  rm -f shared/disk.sqlite*
  "${owner[@]}" ./command create -q shared/disk.sqlite web --size=1M
  "${owner[@]}" ./command snapshot create -q shared/disk.sqlite web@a
  chmod 644 shared/disk.sqlite
  rm -f shared/disk.sqlite-*
}
renew
for words in "list DB" "info DB" "export DB web@a -" "export DB web -" \
  "check DB" "snapshot list DB" "backup DB shared/copy" "diff DB web@a" \
  "map DB web" "send DB web@a"; do
  # The words are arguments.
  # shellcheck disable=SC2086
  "${guest[@]}" ./command ${words//DB/shared/disk.sqlite} >/dev/null \
    2>shared/log || fail "a guest: $words: $(cat shared/log)"
  [ "$(echo shared/disk.sqlite*)" = shared/disk.sqlite ] ||
    fail "$words leaves $(echo shared/disk.sqlite*)"
done
serve "${guest[@]}" -- ./plugin.so shared/disk.sqlite \
  --run 'nbdcopy "$uri" - | wc -c' >/dev/null 2>log || fail "a guest: $(cat log)"
[ "$(echo shared/disk.sqlite*)" = shared/disk.sqlite ] ||
  fail "a server leaves $(echo shared/disk.sqlite*)"
"${owner[@]}" ./command create -q shared/disk.sqlite more --size=1M
for suffix in wal shm lock; do
  renew
  "${guest[@]}" touch shared/disk.sqlite-$suffix
  expect_error "disk.sqlite-$suffix" "${owner[@]}" ./command create -q \
    shared/disk.sqlite more --size=1M
  expect_error "disk.sqlite-$suffix" serve "${owner[@]}" -- ./plugin.so \
    shared/disk.sqlite --run 'nbdinfo "$uri"'
  grep -q "owner and the mode of the" expect.out || fail "$(cat expect.out)"
done

# -u: the file is made by the user who serves, in a directory of his.
user=$(getent passwd 65534 | cut -d: -f1)
if [ -n "$user" ]; then
  chmod 777 "$tmp"
  mkdir home
  chown "$user" home
  start_nbdkit s -u "$user" ./plugin.so home/disk.sqlite size=100000
  nbdcopy data "$(uri s)"
  mode home/disk.sqlite home/disk.sqlite-wal home/disk.sqlite-shm
  [ "$(stat -c %U home/disk.sqlite)" = "$user" ] ||
    fail "home/disk.sqlite belongs to $(stat -c %U home/disk.sqlite)"
  kill_nbdkit
  start_nbdkit s -u "$user" ./plugin.so home/disk.sqlite size=100000
  nbdcopy "$(uri s)" out
  cmp data out || fail "other data after a restart with -u $user"
  kill_nbdkit

  # What root makes beside the file is not in that user's way.
  rm home/disk.sqlite-lock
  start_nbdkit s ./plugin.so home/disk.sqlite
  nbdcopy data "$(uri s)"
  stop_nbdkit
  [ "$(stat -c %U home/disk.sqlite-lock)" = "$user" ] ||
    fail "the lock belongs to $(stat -c %U home/disk.sqlite-lock)"
  start_nbdkit s -u "$user" ./plugin.so home/disk.sqlite
  nbdcopy data "$(uri s)"
  kill_nbdkit

  # Where that user may not write, nothing is made.
  mkdir -m 755 elsewhere
  rm s
  expect_error elsewhere/disk.sqlite timeout 20 nbdkit -f -U "$tmp/s" \
    -u "$user" ./plugin.so elsewhere/disk.sqlite size=1M
  [ -z "$(ls elsewhere)" ] || fail "files in elsewhere: $(ls elsewhere)"
fi
