#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# How long writes wait during a sustained random load, while the log starts
# over again and again: prints the percentiles of the latency, and fails
# when the worst write took longer than a second (a loose bound, for busy
# machines: without pauses of checkpoints it is some 10 ms).
#
# SOAK=yes in the environment makes it a minute, with the default log.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit fio python3
fio --enghelp 2>/dev/null | grep -qw nbd || skip "fio has no nbd engine"

most=1000 # milliseconds
seconds=10 log=16M
if [ "${SOAK-}" = yes ]; then
  seconds=60 log=256M
fi

start_nbdkit s "$plugin" "$tmp/disk.sqlite" size=1G log-size=$log

# load NAME FIO-OPTION...: random writes of 4 KiB; the JSON is in NAME.
load ()
{
  local name=$1
  shift
  fio --name="$name" --ioengine=nbd --uri="$(uri s)" --rw=randwrite \
    --bs=4k --size=256M --randrepeat=0 --group_reporting --thread \
    --output-format=json --output="$tmp/$name" "$@" >"$tmp/$name.err" 2>&1 ||
    {
      cat "$tmp/$name.err" >&2
      fail "fio: $name"
    }
}

load sustained --time_based --runtime=$seconds --numjobs=4 --iodepth=8

python3 - "$tmp/sustained" "$most" <<'EOF2'
import json, sys
text = open(sys.argv[1]).read()
job = json.loads(text[text.index("{"):])["jobs"][0]["write"]
latency = job["clat_ns"]
def milliseconds(nanoseconds):
    return "%.1f ms" % (nanoseconds / 1e6)
worst = latency["max"]
print("%d writes, %d MiB: median %s, p99 %s, p99.9 %s, worst %s" % (
    job["total_ios"], job["io_bytes"] >> 20,
    milliseconds(latency["percentile"]["50.000000"]),
    milliseconds(latency["percentile"]["99.000000"]),
    milliseconds(latency["percentile"]["99.900000"]), milliseconds(worst)))
# The log must have started over several times, or this shows nothing.
assert job["io_bytes"] > 64 << 20, "too few writes"
assert worst < int(sys.argv[2]) * 1e6, "the worst write took too long"
EOF2
