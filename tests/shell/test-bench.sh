#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The benchmark works: one tiny job on every kind of server, the JSON and
# the chart are well-formed, a slow server is seen, and missed targets end
# it with 1.  What is fast is not judged here.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit fio python3 qemu-img qemu-nbd nbdcopy nbdsh nbdinfo mke2fs fincore
fio --enghelp 2>/dev/null | grep -qw nbd || skip "fio has no nbd engine"

cd "$tmp"
mkdir disks tree
echo text >tree/file

command=(python3 -B "$srcdir/../bench/bench.py" --rounds=1 --seconds=0.1
  --sizes=8M --build="$top_builddir" --directory="$tmp/disks"
  --tree="$tmp/tree")

# expect_status STATUS ARGUMENT...: what it prints is in the file out.
expect_status ()
{
  local expected=$1 status=0
  shift
  timeout 60 "${command[@]}" "$@" >out 2>err || status=$?
  [ "$status" -eq "$expected" ] || {
    cat out err >&2
    fail "bench $* ended with $status instead of $expected"
  }
}

# No target is about a mix of 4 KiB, so the speed does not matter.
expect_status 0 --jobs='mix-4k-q32,copy-in' --json=json --chart=svg \
  --server=pages=sqlblock,block-size=16K,page-size=16K
grep -q '^mix-4k-q32 ' out || fail "the job is not in the table"
python3 - <<'EOF2'
import json, xml.dom.minidom
outcome = json.load(open("json"))
servers = ["sqlblock", "file", "qcow2", "qcow2-best", "memory", "null",
           "pages"]
found = [(s["job"], s["server"]) for s in outcome["summary"]]
assert found == [("mix-4k-q32", s) for s in servers] + [
    ("copy-in", s) for s in servers if s != "null"], found
for result in outcome["results"]:
    assert result["value"] > 0 and result["cpu_seconds"] > 0, result
    assert result["memory_bytes"] > 1 << 18, result
    if result["server"] == "sqlblock" and result["job"] != "copy-in":
        assert result["medium_bytes"] >= result["written_bytes"] / 4, result
        assert result["file_bytes"] > 0, result
assert outcome["summary"][0]["ratios"]["file"]["median"] > 0
text = xml.dom.minidom.parse("svg").getElementsByTagName("text")
assert "mix-4k-q32" in [t.firstChild.data for t in text]
EOF2

# Tasks; trims and snapshots have limits of time, which may be missed here.
timeout 60 "${command[@]}" --servers=sqlblock,file \
  --jobs='copy-out,map*,trim*,snapshot*' >out 2>err ||
  [ $? -eq 1 ] || {
  cat err >&2
  fail "tasks"
}
for job in copy-out map-nbdinfo map-qemu-img trim-full trim-empty snapshot \
  snapshot-busy; do
  grep -q "^$job .*s" out || fail "$job is not in the table"
done

# What the kernel has in memory when a job begins.
for memory in cold warm; do
  expect_status 0 --jobs=mix-4k-q32 --servers=sqlblock,file --peers= \
    --memory="$memory" --json="$memory"
done
[ "$(stat -f -c %T disks)" = tmpfs ] || python3 - <<'EOF2'
import json
for memory in "cold", "warm":
    for result in json.load(open(memory))["results"]:
        if memory == "cold":
            assert result["cached_bytes"] < 1 << 20, result
        else:
            assert result["cached_bytes"] >= 8 << 20, result
EOF2

# Targets look at what is called sqlblock.
expect_status 1 --jobs=randread-4k-q1 --servers=file \
  --server=sqlblock=sqlblock,--filter=delay,rdelay=5ms
grep -q 'randread-4k-q1 (8 MiB): 0\.[0-9]* x file, at least' out ||
  fail "the missed target is not named"
expect_status 0 --jobs=randread-4k-q1 --servers= \
  --server=sqlblock=memory --server=file=file,--filter=delay,rdelay=5ms
grep -q 'All targets were met' out || fail "a target was not met"

expect_status 2 --jobs=none
expect_status 2 --jobs=randread-4k-q1 --servers= \
  --server=x=sqlblock,unknown=1
grep -q "unknown parameter" err || fail "the server's error is not shown"
expect_status 77 --build="$tmp"

# Whatever happens, nothing stays behind.
"${command[@]}" --jobs=randread-4k-q1 --seconds=50 >out 2>err &
bench_pid=$!
started_pids+=("$bench_pid")
for i in $(seq 300); do
  server_pid=$(pgrep -P "$bench_pid" nbdkit) && break
  sleep 0.1
done
[ "$server_pid" ] || fail "the benchmark has started no server"
kill "$bench_pid"
wait "$bench_pid" && fail "it ended well though it was killed"
[ -z "$(ls disks)" ] || fail "files were left behind"
[ ! -e "/proc/$server_pid" ] || fail "a server was left behind"
