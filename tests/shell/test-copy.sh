#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# sqlblock export and import: what goes out is what the disk is, of one
# instant, even while a server writes; what comes in is there as a whole or
# not at all, even after kill -9; holes stay holes.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3 cmp qemu-img mkfifo fallocate
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
cd "$tmp"

# make_image FILE SIZE SEED: some data and many holes.
make_image ()
{
  python3 - "$@" <<'EOF2'
import random, sys
path, size, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(seed)
with open(path, "wb") as file:
    file.truncate(size)
    for i in range(30):
        length = random.randint(1, 200000)
        file.seek(random.randrange(max(1, size - length)))
        file.write(random.randbytes(min(length, size - file.tell())))
    file.seek(size - 100)
    file.write(random.randbytes(100))
EOF2
}

# same_as_served EXPORT FILE: the server shows the same. A sanitizer that comes
# with the server is not for qemu-img.
same_as_served ()
{
  nbdkit -U - "$plugin" "$db" --run "env -u LD_PRELOAD \
    qemu-img compare -f raw -F raw nbd+unix:///$1?socket=\$unixsocket $2" \
    >compare.log || {
    cat compare.log >&2
    fail "the export $1 is not $2"
  }
}

head -c 200000000 < <(yes) >large.raw

# --- Files and pipes ---------------------------------------------------------

db=plain.sqlite
make_image image $((20 * 1024 * 1024 + 12345)) 1
fails 3 "no file" import "$db" web image
[ ! -e "$db" ] || fail "a refused import has made a database"
sqlblock import --create -d "the web" "$db" web image
sqlblock export "$db" web out.raw
cmp image out.raw
same_as_served web image
[ "$(du -k out.raw | cut -f 1)" -lt 8000 ] || fail "the holes are gone"
[ "$(query "$db" 'SELECT description FROM disk')" = "the web" ]

sqlblock export "$db" web - | cmp - image
sqlblock import "$db" pipe - <image
cat image | sqlblock import "$db" real-pipe -
sqlblock import --size 30m "$db" longer image
for name in pipe real-pipe; do
  sqlblock export "$db" "$name" - | cmp - image
done
truncate -s 30M image30 && dd if=image of=image30 conv=notrunc status=none
sqlblock export "$db" longer - | cmp - image30
sqlblock import -b 64k --size 30m "$db" large-blocks image
sqlblock export "$db" large-blocks - | cmp - image30

fails 4 "--force" export "$db" web out.raw
sqlblock export --force "$db" longer out.raw
cmp image30 out.raw
sqlblock export "$db" web /dev/null
fails 3 "no disk" export "$db" wbe new.raw
fails 3 "No such file" export "$db" web no/such/directory
fails 2 "" export "$db" web
fails 4 "already" import "$db" web image
fails 3 "No such file" import "$db" new no-such-file
fails 1 "directory" import "$db" new .
: >empty
fails 1 "empty" import "$db" new empty
fails 1 "empty" import "$db" new /dev/null
fails 1 "has 20983865 bytes" import --size 20m "$db" new image
got=0
head -c 2000000 large.raw | sqlblock import --size 1m "$db" new - 2>err || got=$?
[ "$got" = 1 ] || fail "a pipe that is too long: exit code $got"
grep -q "more than" err || fail "a pipe that is too long: $(cat err)"
fails 2 "not a size" import --size 0 "$db" new image
fails 1 "power of two" import -b 1000 "$db" new image
fails 2 "cannot be" import "$db" a@b image
[ "$(query "$db" 'SELECT count (*) FROM disk')" = 5 ] ||
  fail "a refused import has left a disk"

# --- Overwriting a disk ------------------------------------------------------

make_image other $((20 * 1024 * 1024)) 2
sqlblock snapshot create "$db" web@before
fails 2 "as they are" import --overwrite --size 1m "$db" web other
fails 1 "but the disk" import --overwrite "$db" web image30
fails 3 "no disk" import --overwrite "$db" wbe other
start_nbdkit busy "$plugin" "$db"
nbdsh -u "$(uri busy web)" -c 'import time; open("ready", "w"); time.sleep(99)' &
client=$!
started_pids+=("$client")
wait_for test -e ready
fails 5 "open for writing" import --overwrite "$db" web other
kill -9 "$client"
stop_nbdkit
sqlblock import --overwrite "$db" web other
truncate -s $((20 * 1024 * 1024 + 12345)) other
sqlblock export "$db" web - | cmp - other
sqlblock export "$db" web@before - | cmp - image
sqlblock import --overwrite "$db" pipe other 2>err
grep -q freed err || fail "what was overwritten was not freed"
[ "$(query "$db" 'SELECT count (*) FROM reclaim')" = 0 ]
sqlblock import --overwrite "$db" pipe image

# --- What waits for a copy ---------------------------------------------------

# waits CODE TEXT COMMAND...: while a copy is made it ends so, and says this;
# with --dry-run, where it has that, with the same code.
waits ()
{
  local code=$1 text=$2 got=0
  shift 2
  case $1 in
    delete | snapshot | rollback)
      sqlblock "$@" --dry-run || got=$?
      [ "$got" = "$code" ] || fail "exit code $got: sqlblock $* --dry-run"
      ;;
  esac
  fails "$code" "$text" "$@"
}

sqlblock create -q waiting.sqlite kept --size=64M
for name in one two three four; do
  sqlblock import -q waiting.sqlite "$name" other
done
sqlblock snapshot create -q waiting.sqlite one@a two@a four@a
sqlblock import -q --overwrite waiting.sqlite one image
mkfifo slow
sqlblock export -q waiting.sqlite two slow &
pid=$!
started_pids+=("$pid")
exec 8<slow
head -c 100000 <&8 >slow.raw
# It is done, and that is what the exit code says.
later="not all of its space is free"
waits 0 "$later" delete waiting.sqlite four --snapshots
waits 0 "$later" snapshot delete waiting.sqlite two@a
waits 0 "$later" rollback waiting.sqlite one@a
waits 0 "$later" snapshot delete waiting.sqlite one@a
waits 0 "$later" resize waiting.sqlite three 1M --shrink
[ "$(sqlblock list waiting.sqlite --all --names | tr '\n' ' ')" = \
  "kept one two three " ] || fail "something was not done"
# What has nothing else to do is refused, and changes nothing.
query waiting.sqlite "SELECT * FROM reclaim" >reclaim.before
waits 5 "copy" compact waiting.sqlite
query waiting.sqlite "SELECT * FROM reclaim" | cmp - reclaim.before
cat <&8 >>slow.raw
exec 8<&-
wait "$pid" || fail "the export was disturbed"
cmp other slow.raw
sqlblock compact waiting.sqlite >/dev/null
[ "$(query waiting.sqlite 'SELECT count (*) FROM reclaim')" = 0 ]

# --- Files of the database ---------------------------------------------------

# Also while a server has them open, by other names, and where they are not
# there yet. (test-commands.sh tries all commands, and hard links.)
ln -s waiting.sqlite link.sqlite
start_nbdkit w "$plugin" waiting.sqlite
nbdsh -u "$(uri w one)" -c 'h.pwrite(b"x" * 512, 0)'
for name in waiting.sqlite{,-wal,-shm,-journal,-lock} link.sqlite; do
  fails "$([ -e "$name" ] && echo 4 || echo 1)" "belongs to it" \
    export --overwrite waiting.sqlite one "$name"
  fails "$([ -e "$name" ] && echo 4 || echo 1)" "belongs to it" \
    backup waiting.sqlite "$name"
done
fails 1 "belongs to it" import waiting.sqlite new waiting.sqlite-wal
fails 1 "belongs to it" import waiting.sqlite new link.sqlite
got=0
sqlblock export waiting.sqlite one - >>waiting.sqlite-wal 2>err || got=$?
[ "$got" = 1 ] && grep -q "standard output is the database" err ||
  fail "into the log: $got $(cat err)"
stop_nbdkit
# Also when there is nothing in it, as behind a checkpoint.
rm -f waiting.sqlite-wal
touch waiting.sqlite-wal
fails 1 "belongs to it" import waiting.sqlite new waiting.sqlite-wal
sqlblock check -q waiting.sqlite
rm link.sqlite
expect_error "stats=" nbdkit -fU bad "$plugin" waiting.sqlite \
  stats=waiting.sqlite-journal
[ ! -e waiting.sqlite-journal ] || fail "a journal was made"

# --- Progress ----------------------------------------------------------------

# Whatever is copied, all of it was at the end.
for words in "export waiting.sqlite one progress.raw" \
  "import waiting.sqlite p1 image" "import waiting.sqlite p2 - --size=30M" \
  "backup waiting.sqlite progress.sqlite" "check waiting.sqlite"; do
  sqlblock $words --progress <image >out 2>err
  tail -n 2 err | grep -q "100%" ||
    fail "progress of $words ends with: $(tail -n 2 err)"
done
sqlblock import waiting.sqlite p3 - --size=30M --progress <image 2>err
grep -q "of 30M" err || fail "no percentage: $(cat err)"
sqlblock snapshot create -q waiting.sqlite p1@a
sqlblock send waiting.sqlite p1@a --progress 2>err >stream
tail -n 2 err | grep -q "100%" || fail "progress of send: $(cat err)"
sqlblock receive received.sqlite --progress 2>err <stream
tail -n 2 err | grep -q "100%" || fail "progress of receive: $(cat err)"

# --- While a server writes ---------------------------------------------------

db=live.sqlite
start_nbdkit live "$plugin" "$db" size=128M
python3 "$srcdir/lib/ordered.py" write "$(uri live)" >writer.log 2>&1 &
writer=$!
started_pids+=("$writer")
wait_for grep -q writing writer.log
for i in $(seq 10); do
  sqlblock export --force "$db" disk live.raw
  python3 "$srcdir/lib/ordered.py" check live.raw
done
# A reader at the other end that takes its time: what is written meanwhile
# does not show, and the log does not grow past its bound for it.
sqlblock export "$db" disk - | (sleep 3; cat) >slow.raw
python3 "$srcdir/lib/ordered.py" check slow.raw
kill "$writer"
wait "$writer" 2>/dev/null || :
stop_nbdkit
sqlblock export --force "$db" disk live.raw
same_as_served disk live.raw

# --- kill -9 -----------------------------------------------------------------

db=plain.sqlite
mkfifo fifo
killed_import image 9000000 "$db" killed
fails 3 "no disk" export "$db" killed -
sqlblock import "$db" killed image
sqlblock export "$db" killed - | cmp - image
killed_import image 9000000 --overwrite "$db" web
sqlblock export "$db" web - | cmp - other
sqlblock compact "$db" >compact.log
grep -q "receptions removed: *1" compact.log || {
  cat compact.log
  fail "compact did not remove what the import has left"
}
! is_receiving "$db" || fail "something is left of an import that was killed"
sqlblock import --overwrite "$db" web image
sqlblock export "$db" web - | cmp - image

# Two at a time: one wins.
sqlblock import "$db" twice fifo &
pid=$!
started_pids+=("$pid")
exec 9>fifo
head -c 9000000 image >&9
wait_for is_receiving "$db"
fails 5 "already" import "$db" twice image
exec 9>&-
wait "$pid"

sqlblock import "$db" large large.raw
mkdir killed
for i in $(seq 10); do
  sqlblock export "$db" large killed/file &
  pid=$!
  sleep 0.0$((RANDOM % 10))
  kill -9 "$pid" 2>/dev/null || :
  wait "$pid" 2>/dev/null || :
  if [ -e killed/file ]; then
    cmp large.raw killed/file
    rm killed/file
  fi
done
[ -z "$(ls -A killed)" ] || fail "left behind: $(ls killed)"
sqlblock export "$db" large - | cmp - large.raw

# Interrupted by the user.
sqlblock import "$db" interrupted fifo 2>err &
pid=$!
started_pids+=("$pid")
exec 9>fifo
head -c 9000000 image >&9
wait_for is_receiving "$db"
kill "$pid"
got=0
wait "$pid" || got=$?
exec 9>&-
[ "$got" = 143 ] || fail "SIGTERM: exit code $got"
! is_receiving "$db" || fail "an import that was interrupted left something"

# --- A full file system ------------------------------------------------------

if ! "${own_mounts[@]}" true 2>/dev/null; then
  echo "mounting needs root: full file systems were not tried"
  exit
fi
export -f fails fail same_as_served query
export db plugin
"${own_mounts[@]}" bash -euo pipefail <<'EOF2'
mkdir small
mount -t tmpfs -o size=12M none small
fails 1 "" export "$db" large small/file
[ -z "$(ls -A small)" ] || fail "left behind: $(ls small)"
db=small/disk.sqlite
sqlblock create -q "$db" disk --size 1m
fallocate -l 3M small/filler
head -c 30000000 large.raw >source
fails 1 "full" import -c none "$db" new source
rm small/filler
fails 3 "no disk" export "$db" new -
sqlblock compact "$db" >/dev/null
head -c 1000000 source >shorter
sqlblock import "$db" new shorter
sqlblock export "$db" new - | cmp - shorter
EOF2
