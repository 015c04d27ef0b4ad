#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What compression saves and costs: bench/compression.sh FILE...
#
# Each FILE, an image of a file system or anything else, is imported with each
# block size and compression, and read back through NBD, ROUNDS times in turn
# (3, from the environment). The table says how large the database is, in
# percent of the FILE's data (without its holes), and how fast it was written
# and read, in percent of the first line, the median of all rounds.
#
# It needs what the tests need, and space for two copies of a FILE in TMPDIR,
# where a file system in memory says most about the codecs themselves.

. "$(dirname "$0")/../tests/lib/functions.sh"
need nbdkit nbdcopy python3
[ $# -gt 0 ] || fail "give the names of files"
PATH=$top_builddir/tool:$PATH
rmdir "$tmp"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/sqlblock-bench.XXXXXX")

# run FILE BLOCK HOW: print "size write-seconds read-seconds".
run ()
{
  python3 - "$tmp" "$plugin" "$@" <<'EOF2'
import os, subprocess, sys, time
directory, plugin, file, block, how = sys.argv[1:]
db = directory + "/disk.sqlite"
start = time.monotonic()
subprocess.run(["sqlblock", "import", "--create", "--quiet", "-b", block,
                "-c", how, db, "disk", file], check=True)
written = time.monotonic()
subprocess.run(["nbdkit", "-U", "-", "-r", plugin, db, "--run",
                "nbdcopy \"$uri\" null:"], check=True)
read = time.monotonic()
print(os.path.getsize(db), written - start, read - written)
for name in os.listdir(directory):
    os.remove(directory + "/" + name)
EOF2
}

results=$(mktemp -d "${TMPDIR:-/tmp}/sqlblock-bench.XXXXXX")
trap 'rm -rf "$results"; cleanup' EXIT
for file; do
  for round in $(seq "${ROUNDS:-3}"); do
    for block in 4k 16k 64k; do
      for how in none lz4 zstd:1 zstd:9; do
        echo "$(basename "$file")" "$(du -B 1 "$file" | cut -f 1)" \
          "$block" "$how" "$(run "$file" "$block" "$how")"
      done
    done
  done
done >"$results/lines"
python3 - "$results/lines" <<'EOF2'
import statistics, sys
rows = {}
for line in open(sys.argv[1]):
    file, data, block, how, size, write, read = line.split()
    rows.setdefault((file, int(data), block, how), []).append(
        (int(size), float(write), float(read)))
first = {}
print("%-12s %5s  %-7s %6s %6s %6s" % ("file", "block", "how", "size", "write",
                                      "read"))
for (file, data, block, how), runs in rows.items():
    size, write, read = (statistics.median(run[i] for run in runs)
                         for i in range(3))
    base = first.setdefault(file, (write, read))
    print("%-12s %5s  %-7s %5.0f%% %5.0f%% %5.0f%%" % (file, block, how,
          100 * size / data, 100 * base[0] / write, 100 * base[1] / read))
EOF2
