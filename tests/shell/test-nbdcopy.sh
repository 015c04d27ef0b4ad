#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A real file system with a few thousand files goes in by nbdcopy and by
# qemu-img, is identical, survives a crash of the server, and comes out
# again; what is zero in it takes no space in the database.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdcopy nbdinfo mkfs.ext4 e2fsck debugfs qemu-img python3 cmp

db=$tmp/disks.sqlite
image=$tmp/image

make_files "$tmp/files"
truncate -s 96M "$image"
mkfs.ext4 -q -F -d "$tmp/files" "$image"

# data_bytes URI: the bytes that the server says are data.
data_bytes ()
{
  nbdinfo --map --totals "$1" |
    awk '$3 == 0 { data = $1 } END { print data + 0 }'
}

# What must be stored: each block that is not all zero.
stored=$(python3 - "$image" <<'EOF2'
import sys
with open(sys.argv[1], "rb") as file:
    print(sum(4096 for block in iter(lambda: file.read(4096), b"")
              if block.strip(b"\0")))
EOF2
)

for name in disk second; do
  timeout 20 nbdkit -U - "$plugin" "$db" export=$name size=96M --run true
done
start_nbdkit s "$plugin" "$db"
nbdcopy --flush "$image" "$(uri s)"
qemu-img convert -n -f raw -O raw "$image" "$(uri s second)"

look ()
{
  local name data
  for name in disk second; do
    qemu-img compare -f raw -F raw "$image" "$(uri s "$name")" \
      >"$tmp/compare" || fail "$name: $(cat "$tmp/compare")"
    grep -q 'Images are identical' "$tmp/compare" || fail "$name differs"
    data=$(data_bytes "$(uri s "$name")")
    [ "$data" = "$stored" ] ||
      fail "$name: $data bytes of data, $stored expected"
  done
}
look
kill_nbdkit
start_nbdkit s "$plugin" "$db"
look

# From disk to disk inside the server, over several connections.
nbdcopy --flush --destination-is-zero --connections=4 --requests=16 \
  "$(uri s)" "$(uri s second)"
look

# Out again: the file system is whole and has the files.
nbdcopy "$(uri s second)" "$tmp/out"
cmp "$image" "$tmp/out"
e2fsck -fn "$tmp/out" >"$tmp/fsck" 2>&1 || fail "$(cat "$tmp/fsck")"
mkdir "$tmp/files-out"
debugfs -R "rdump / $tmp/files-out" "$tmp/out" 2>/dev/null
rmdir "$tmp/files-out/lost+found"
diff -r "$tmp/files" "$tmp/files-out" >/dev/null || fail "other files came out"
kill_nbdkit

# checkwrite compares each write, zero and trim with what is on the disk:
# here all that nbdcopy reads from the disk, holes as well.
timeout 60 nbdkit -U - --filter=checkwrite "$plugin" "$db" \
  --run 'nbdcopy "$uri" "$uri"' || fail "nbdcopy from a disk to itself"
printf x | dd of="$image" bs=1 seek=1234567 conv=notrunc status=none
if timeout 60 nbdkit -U - --filter=checkwrite "$plugin" "$db" \
  --run "nbdcopy $image \"\$uri\"" 2>"$tmp/checkwrite.log"; then
  fail "checkwrite found no difference in a changed image"
fi

# A copy of nothing but zeroes leaves nothing stored.
start_nbdkit s "$plugin" "$db"
truncate -s 96M "$tmp/empty"
nbdcopy --flush "$tmp/empty" "$(uri s)"
nbdcopy --flush --allocated --sparse=0 "$tmp/empty" "$(uri s second)"
[ "$(data_bytes "$(uri s)")" = 0 ] || fail "zeroes are stored"
[ "$(data_bytes "$(uri s second)")" = 0 ] || fail "written zeroes are stored"
