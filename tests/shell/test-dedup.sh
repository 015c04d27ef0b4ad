#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Equal blocks with real clients: copies of a file system take the space of
# one, whether they come through the network, by commands or as a stream, and
# all of it is free again after the last; a server follows when that is switched
# on and off; while model-check, which knows what its disk must be, reads and
# writes and its server is killed, it is switched and everything stored anew.
#
# SOAK=yes in the environment makes the last part 40 times as long.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit qemu-img mke2fs python3
PATH=$top_builddir/tool:$PATH
model_check=$top_builddir/tests/model-check
[ -x "$model_check" ] || skip "model-check needs libnbd to be built"

rounds=6
[ "${SOAK-}" = yes ] && rounds=240
cd "$tmp"
db=$tmp/disks.sqlite

# contents COUNT: COUNT must be there, and none that no block refers to.
contents ()
{
  local found
  found=$(query "$db" "SELECT count (*) FROM content")
  [ "$found" = "$1" ] || fail "$found contents instead of $1"
  expect_whole
}

expect_whole ()
{
  [ "$(query "$db" "SELECT count (*) FROM content WHERE id NOT IN
    (SELECT content FROM block WHERE codec = 4)")" = 0 ] ||
    fail "a content is left over"
  [ "$(query "$db" "SELECT count (*) FROM block WHERE codec = 4
    AND content NOT IN (SELECT id FROM content)")" = 0 ] ||
    fail "a content is missing"
}

# same DISK: it is the image.
same ()
{
  rm -f back
  sqlblock export --quiet "$db" "$1" back
  cmp image back || fail "$1 is not the image"
}

# --- Copies of a file system -------------------------------------------------

mkdir files
# Some have the same name.
cp --backup=numbered "$srcdir"/../store/*/*.[ch] "$srcdir"/*/*.c \
  "$srcdir"/*/*.sh files
mke2fs -q -t ext4 -d files image 16M
sqlblock create --quiet "$db" web --size=16M --dedup
sqlblock create --quiet "$db" off --size=16M
start_nbdkit socket "$plugin" "$db"
qemu-img convert -n -f raw -O raw image "$(uri socket web)"
one=$(query "$db" "SELECT count (*) FROM content")
[ "$one" -gt 100 ] || fail "only $one contents"
sqlblock import --quiet --dedup --compression=none "$db" copy image
sqlblock snapshot create --quiet "$db" web@a
sqlblock send --quiet "$db" web@a |
  sqlblock receive --quiet --dedup "$db" received
sqlblock clone --quiet "$db" web clone
contents "$one"
qemu-img convert -n -f raw -O raw image "$(uri socket off)"
contents "$one"
for disk in web copy received clone off; do
  same "$disk"
done
qemu-img compare -f raw -F raw image "$(uri socket clone)" >/dev/null ||
  fail "the clone is not the image"
[ "$(sqlblock info --json "$db" clone | python3 -c \
  'import json, sys; print(json.load(sys.stdin)["dedup"])')" = True ] ||
  fail "a clone is not like its origin"
sqlblock info "$db" off | grep -q "dedup: *off" || fail "info"

# --- Switching, while the server runs ----------------------------------------

sqlblock set "$db" off dedup=on
sqlblock recompress --quiet "$db" off
[ "$(query "$db" "SELECT count (*) FROM block JOIN disk USING (layer)
  WHERE name = 'off' AND codec IN (1, 2, 3)")" = 0 ] || fail "not shared"
contents "$one"
sqlblock set "$db" web dedup=off compression=none
qemu-img convert -n -f raw -O raw image "$(uri socket web)"
[ "$(query "$db" "SELECT count (*) FROM block JOIN disk USING (layer)
  WHERE name = 'web' AND codec = 4 AND generation =
  (SELECT generation FROM layer WHERE id = layer)")" = 0 ] || fail "shared"
sqlblock recompress --quiet "$db" received
sqlblock backup --quiet "$db" backup.sqlite
for disk in web copy received clone off; do
  same "$disk"
done
(
  db=$tmp/backup.sqlite
  contents "$one"
  same clone
)

sqlblock check --quiet "$db"
sqlblock check --quiet backup.sqlite

# --- The last reference ------------------------------------------------------

for disk in web copy received clone; do
  sqlblock delete --quiet --force --snapshots "$db" "$disk"
  expect_whole
done
contents "$one"
same off
sqlblock set "$db" off dedup=off
sqlblock recompress "$db" off 2>said
grep -q "blocks stored anew" said || fail "recompress has said nothing"
contents 0
same off
sqlblock check --quiet "$db"

# --- What is refused ---------------------------------------------------------

expect_error "neither on nor off" sqlblock set "$db" off dedup=maybe
expect_error "has dedup=off: leave dedup= out" \
  nbdkit -U - "$plugin" "$db" export=off dedup=on --run true
nbdkit -U - "$plugin" "$db" export=off dedup=off --run true
nbdkit -U - "$plugin" made.sqlite size=1M dedup=on --run true
[ "$(sqlblock info --json made.sqlite disk | grep -c '"dedup": true')" = 1 ] ||
  fail "dedup=on of a new disk"
expect_error "dedup" sqlblock import --overwrite --dedup "$db" off image

# --- While clients write, and the server is killed ---------------------------

seed=${SQLBLOCK_SEED:-$RANDOM}
echo "seed $seed"
RANDOM=$seed
start_model --operations 1000000 --kills 2500 --seed "$seed"
db=$model_directory/disk.sqlite
# So that no query is the last one to close it after a server was killed.
python3 -c 'import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], timeout=20)
database.execute("SELECT count (*) FROM disk").fetchone()
open("kept-open", "w").close()
time.sleep(600)' "$db" &
started_pids+=("$!")
wait_for test -e kept-open
disk=$(sqlblock list --names "$db")
how=(none lz4 zstd)
switch=(on on off)
for ((i = 0; i < rounds; i++)); do
  sqlblock set "$db" "$disk" dedup="${switch[RANDOM % 3]}" \
    compression="${how[RANDOM % 3]}"
  sleep 0.2
  if ((RANDOM % 2)); then
    sqlblock snapshot create "$db" "$disk@s$i" --quiet
  fi
  # Some are killed halfway.
  if ((RANDOM % 3)); then
    sqlblock recompress "$db" "$disk" 2>&1
  else
    timeout -s KILL "0.0$((RANDOM % 10))" \
      sqlblock recompress --quiet "$db" "$disk" || :
  fi
  expect_whole
done
end_model
