#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Compression with real clients: a file system goes in and comes out the same,
# and small; what cannot be compressed is stored as it is; a database that
# needs a codec says so; while model-check, which knows what its disk must be,
# reads and writes, compression, deduplication and a quota are switched at
# random and everything is stored anew.
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

# stored DISK: the bytes of the data of its rows.
stored ()
{
  query "$db" "SELECT ifnull (sum (length (data)), 0) FROM block
    JOIN disk USING (layer) WHERE name = '$1'"
}

# at_most A PERCENT B: A must be at most PERCENT of B.
at_most ()
{
  [ $((100 * $1)) -le $(($2 * $3)) ] || fail "$1 is more than $2 % of $3"
}

sqlblock create probe.sqlite a --size=1M --compression=zstd &&
  sqlblock create probe.sqlite b --size=1M --compression=lz4 ||
  skip "built without zstd or lz4"

# --- A file system -----------------------------------------------------------

for i in 1 2 3 4 5; do
  mkdir -p "files/$i"
  for file in "$srcdir"/../store/*/*.[ch] "$srcdir"/*/*.c "$srcdir"/*/*.sh; do
    cp "$file" "files/$i/$(basename "$(dirname "$file")")-${file##*/}"
  done
done
mke2fs -q -t ext4 -d files image 64M
head -c 8M /dev/urandom >noise
sqlblock create "$db" plain --size=64M --compression=none
for how in zstd lz4 zstd:9; do
  sqlblock create "$db" "$how" --size=64M --compression="$how"
done
sqlblock create "$db" large --size=64M -b 64k --compression=zstd
sqlblock create "$db" noise --size=8M --compression=zstd:19
start_nbdkit socket "$plugin" "$db"
for disk in plain zstd lz4 zstd:9 large; do
  qemu-img convert -n -f raw -O raw image "$(uri socket "$disk")"
  qemu-img compare -f raw -F raw image "$(uri socket "$disk")" >/dev/null ||
    fail "$disk is not the image"
  echo "$disk: $(stored "$disk") bytes"
done
at_most "$(stored zstd)" 50 "$(stored plain)"
at_most "$(stored lz4)" 70 "$(stored plain)"
at_most "$(stored zstd:9)" 100 "$(stored zstd)"
at_most "$(stored large)" 40 "$(stored plain)"
qemu-img convert -n -f raw -O raw noise "$(uri socket noise)"
[ "$(stored noise)" = $((8 * 1024 * 1024)) ] || fail "noise was compressed"

# What is there is stored anew, with the server at work.
before=$(stored plain)
sqlblock set "$db" plain compression=zstd
[ "$(stored plain)" = "$before" ] || fail "set has changed blocks"
sqlblock recompress "$db" plain 2>said
cat said
[ "$(stored plain)" = "$(stored zstd)" ] || fail "recompressed otherwise"
sqlblock set "$db" plain compression=none
sqlblock recompress --quiet "$db" plain
[ "$(stored plain)" = "$before" ] || fail "not as before"
qemu-img compare -f raw -F raw image "$(uri socket plain)" >/dev/null ||
  fail "recompress has changed the image"
stop_nbdkit
[ "$(sqlblock info --json "$db" lz4 | python3 -c \
  'import json, sys; print(json.load(sys.stdin)["compression"])')" = lz4 ] ||
  fail "info"

# --- Damaged blocks stay as they are -----------------------------------------

change "$db" "UPDATE block SET data = zeroblob (length (data)) WHERE id =
  (SELECT max (block.id) FROM block JOIN disk USING (layer)
   WHERE name = 'noise')"
sqlblock set "$db" noise compression=none
expect_error "is damaged: 1 block;" sqlblock recompress "$db" noise

expect_error "has the compression zstd:9: leave compression= out" \
  nbdkit -U - "$plugin" "$db" export=zstd:9 compression=lz4 --run true
nbdkit -U - "$plugin" "$db" export=zstd:9 compression=zstd:9 --run true

# --- A program without the codec ---------------------------------------------

query "$db" "INSERT INTO feature VALUES (9, 'brotli', 0, 3, 0)"
"$top_builddir/tests/seal" "$db" rows
expect_error "uses the feature 'brotli'" sqlblock list "$db"

# --- While clients write -----------------------------------------------------

seed=${SQLBLOCK_SEED:-$RANDOM}
echo "seed $seed"
RANDOM=$seed
start_model --operations 1000000000 --kills 0 --seed "$seed"
db=$model_directory/disk.sqlite
disk=$(sqlblock list --names "$db")
hows=(none lz4 zstd zstd:3 zstd:6)
dedup=(on off)
quota=(none 1T)
for ((i = 0; i < rounds; i++)); do
  sqlblock set "$db" "$disk" compression="${hows[RANDOM % ${#hows[@]}]}" \
    dedup="${dedup[RANDOM % 2]}"
  sleep 0.2
  sqlblock set "$db" "$disk" quota="${quota[RANDOM % 2]}"
  if ((RANDOM % 2)); then
    sqlblock snapshot create "$db" "$disk@s$i" --quiet
  fi
  sqlblock recompress "$db" "$disk" 2>&1
done
end_model
