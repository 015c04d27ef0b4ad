#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What sqlblock does through the control socket of a server is what it does
# without one: the same calls, once beside a server and once through it, print
# the same, end with the same exit codes and leave the same. Then what only
# that makes possible: a disk that a client has is rolled back and grows, and no
# other process opens the file.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3
PATH=$top_builddir/tool:$PATH
cd "$tmp" || exit 1
unset SQLBLOCK_CONTROL

python3 - <<'EOF2'
import random
random.seed(1)
data = random.randbytes
with open("image", "wb") as file:
    file.write(data(300000) + bytes(500000) + data(100001))
with open("second", "wb") as file:
    file.write(data(900001))
EOF2

# serve WAY: a database in the directory WAY, and a server of it.
serve ()
{
  mkdir "$1"
  (cd "$1" &&
    sqlblock import -q d.sqlite web ../image --create &&
    sqlblock snapshot create -q d.sqlite web@one &&
    sqlblock clone -q d.sqlite web@one child)
  start_nbdkit "$1.nbd" "$plugin" "$tmp/$1/d.sqlite" \
    control="$tmp/$1.control"
  await_answer "$1.nbd"
}
serve beside
serve through

# What cannot be the same: times, guids, descriptors, pages of the file.
same ()
{
  sed -E -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]+(Z|[+-][0-9:]+)?/TIME/g' \
    -e 's/(guid": "|guid: +)[0-9a-f]{16}/\1GUID/' \
    -e 's/(process )[0-9]+/\1PID/' -e 's/(beside|through)/WAY/g'
}

# both ARGUMENT...: sqlblock with "d.sqlite" for DATABASE, in both ways; its
# input is the file $input, if that is set.
calls=0
both ()
{
  local way code
  for way in beside through; do
    code=0
    (cd "$way" && [ "$way" = through ] &&
      export SQLBLOCK_CONTROL=$tmp/through.control
      exec sqlblock "$@") >"$way.out" 2>"$way.err" <"${input:-/dev/null}" ||
      code=$?
    echo "exit code $code" >>"$way.err"
    same <"$way.out" >"$way.out.same"
    same <"$way.err" >"$way.err.same"
  done
  calls=$((calls + 1))
  cmp -s beside.out.same through.out.same &&
    cmp -s beside.err.same through.err.same || {
    diff beside.out.same through.out.same >&2
    diff beside.err.same through.err.same >&2
    fail "this is not the same through a server: $*"
  }
}

# ends CODE ARGUMENT...: the same, and it ends so.
ends ()
{
  local code=$1
  shift
  both "$@"
  grep -qx "exit code $code" through.err ||
    fail "$(cat through.err); wanted $code: $*"
}

odd=$'\xff\xfe'

ends 0 create d.sqlite mail --size=1M --description="the mails" --dedup
ends 4 create d.sqlite mail --size=1M
ends 0 create d.sqlite huge --size=7E --quota=6E --block-size=64k
ends 1 create d.sqlite none --size=1M --block-size=256
ends 0 resize d.sqlite huge 9223372036854775807
ends 1 resize d.sqlite huge +1
ends 0 info d.sqlite huge --json
grep -q '"size": 9223372036854775807' through.out || fail "a size was rounded"
ends 0 list d.sqlite
ends 0 snapshot create d.sqlite web@two mail@two
ends 4 snapshot create d.sqlite mail@two web@two
ends 3 snapshot create d.sqlite nobody@three
ends 0 snapshot create d.sqlite --all @all
ends 0 snapshot hold d.sqlite web@one backup
ends 4 snapshot hold d.sqlite web@one backup
ends 5 snapshot delete d.sqlite web@one
ends 3 snapshot release d.sqlite web@one other
ends 2 snapshot release d.sqlite web@one "$odd"
ends 0 snapshot release d.sqlite web@one backup
ends 0 set d.sqlite web quota=1G user:owner="Jürgen 雪" description=server
ends 0 set d.sqlite mail compression=none dedup=off
ends 0 set d.sqlite web@one user:ticket=9007199254740993
ends 0 set d.sqlite web --unset="user:$odd"
ends 1 set d.sqlite web user:a="$odd"
ends 0 describe d.sqlite child ""
ends 1 describe d.sqlite child "$odd"
ends 0 list d.sqlite --all --usage
ends 0 list d.sqlite --all --usage --json
ends 0 list d.sqlite --names --all
ends 0 snapshot list d.sqlite --json
ends 3 snapshot list d.sqlite nobody
ends 0 info d.sqlite web --json
ends 0 info d.sqlite web@one
ends 3 info d.sqlite web@nothing
ends 0 rename d.sqlite mail post
ends 0 rename d.sqlite web@two second
ends 4 rename d.sqlite post web
ends 2 rename d.sqlite post "$odd"
ends 0 flatten d.sqlite child
ends 0 flatten d.sqlite child
ends 3 flatten d.sqlite nobody
ends 0 import d.sqlite new ../second --dedup --compression=zstd:3
ends 4 import d.sqlite new ../second
ends 1 import d.sqlite small ../second --size=4k
ends 0 import d.sqlite web ../second --overwrite
input=image ends 0 import d.sqlite piped - --description="from a pipe"
input=image ends 0 import d.sqlite long - --size=1G
ends 0 import d.sqlite made ../image --create
ends 0 diff d.sqlite web@one
ends 0 diff d.sqlite web@one --json
ends 0 diff d.sqlite web@one @second --summary
ends 1 diff d.sqlite web huge
ends 3 diff d.sqlite web@one nobody
ends 0 map d.sqlite web --since=one
ends 0 map d.sqlite web@one --json
ends 0 export d.sqlite web@one -
cmp image through.out || fail "another disk was exported"
ends 0 export d.sqlite web out
cmp second through/out || fail "another disk was exported"
ends 4 export d.sqlite web out
ends 4 export d.sqlite web d.sqlite --overwrite
ends 0 rollback d.sqlite web@one --dry-run
ends 0 rollback d.sqlite web@one
ends 2 rollback d.sqlite web
ends 0 snapshot create d.sqlite web@four
ends 0 recompress d.sqlite piped
ends 0 set d.sqlite piped compression=none
ends 0 recompress d.sqlite piped
ends 4 delete d.sqlite child --dry-run
ends 0 delete d.sqlite child --snapshots --dry-run
ends 0 delete d.sqlite child --snapshots
ends 4 delete d.sqlite web
ends 0 snapshot delete d.sqlite web@one..second --dry-run
ends 0 snapshot delete d.sqlite web@second.. --no-reclaim
ends 3 snapshot delete d.sqlite web@second
ends 3 snapshot delete d.sqlite web@all..one
ends 0 delete d.sqlite huge --snapshots
ends 1 resize d.sqlite web 4k
ends 0 resize d.sqlite web 64k --shrink
ends 0 check d.sqlite
ends 0 check d.sqlite --json
ends 0 backup d.sqlite saved
ends 4 backup d.sqlite saved
ends 4 backup d.sqlite d.sqlite
sqlblock check -q through/saved
sqlblock export -q through/saved web saved.web
sqlblock export -q through/d.sqlite web - | cmp - saved.web ||
  fail "another disk was backed up"
ends 2 list
ends 2 list d.sqlite --nothing

# Streams: in, and out.
sqlblock import -q source.sqlite sent image --create
sqlblock set -q source.sqlite sent user:who="Jürgen"
sqlblock snapshot create -q source.sqlite sent@a
sqlblock import -q source.sqlite other second
sqlblock import -q source.sqlite sent image --overwrite
sqlblock resize -q source.sqlite sent +64k
sqlblock snapshot create -q source.sqlite sent@b
sqlblock send -q source.sqlite sent@a >whole
sqlblock send -q source.sqlite sent@b --from=a >changes
head -c 100000 whole >torn
input=torn ends 1 receive d.sqlite
input=changes ends 3 receive d.sqlite
input=whole ends 0 receive d.sqlite
input=whole ends 4 receive d.sqlite
input=whole ends 0 receive d.sqlite copy --compression=none --dedup
input=changes ends 0 receive d.sqlite
input=changes ends 4 receive d.sqlite
input=image ends 1 receive d.sqlite
sqlblock clone -q source.sqlite sent@b copied
sqlblock snapshot create -q source.sqlite copied@c
sqlblock send -q source.sqlite -R sent copied >chain
input=chain ends 0 receive d.sqlite --dry-run
input=chain ends 0 receive d.sqlite
input=chain ends 0 receive d.sqlite
ends 0 send d.sqlite -R sent copied --estimate --json
ends 0 send d.sqlite copied@c --from=sent@b --estimate -p
ends 0 list d.sqlite --all --json
ends 0 info d.sqlite sent --json

# What is sent through a server is the snapshot, whole or since another one: a
# comparison goes on while blocks are read.
control=$tmp/through.control
sqlblock --control="$control" send -q through/d.sqlite sent@a |
  sqlblock receive -q target.sqlite
sqlblock --control="$control" send -q through/d.sqlite sent@b --from=a |
  sqlblock receive -q target.sqlite
sqlblock export -q target.sqlite sent@b sent.b
sqlblock export -q source.sqlite sent@b sent.wanted
cmp sent.b sent.wanted || fail "another snapshot was sent"
sqlblock info target.sqlite sent --json | grep -q '"who": "Jürgen"' ||
  fail "a property was not sent"

# Many ranges that differ, more than are told of at once.
sqlblock --control="$control" create -q through/d.sqlite ranges --size=64M
nbdsh -u "$(uri through.nbd ranges)" -c '
for number in range(0, 8192, 2):
    h.pwrite(b"x" * 4096, number * 4096)
h.flush()'
sqlblock --control="$control" snapshot create -q through/d.sqlite ranges@all
sqlblock --control="$control" diff through/d.sqlite ranges@all web |
  head -n 1 >/dev/null || :
sqlblock --control="$control" map through/d.sqlite ranges --json >map.through
sqlblock map through/d.sqlite ranges --json | cmp - map.through ||
  fail "another map"
sqlblock --control="$control" clone -q through/d.sqlite ranges@all empty
sqlblock --control="$control" create -q through/d.sqlite zero --size=64M
for way in "" "--control=$control"; do
  # shellcheck disable=SC2086
  sqlblock $way diff through/d.sqlite zero ranges@all --json |
    python3 -c 'import json, sys
ranges = json.load(sys.stdin)["ranges"]
assert len(ranges) == 4096, len(ranges)
assert all(r["offset"] == 8192 * i and r["length"] == 4096
           for i, r in enumerate(ranges))'
done

# A disk that a client has: it is rolled back, and grows, and who connects then
# sees that.
cat >attached.py <<'EOF2'
import nbd, subprocess, sys
uri, control = sys.argv[1:]

def sqlblock (*words, wanted=0):
    done = subprocess.run(["sqlblock", *words, "--control=" + control],
                          capture_output=True, text=True)
    assert done.returncode == wanted, (words, done.returncode, done.stderr)
    return done.stderr

def connect ():
    h = nbd.NBD()
    h.set_handshake_flags(h.get_handshake_flags())
    h.connect_uri(uri)
    return h

DB = "through/d.sqlite"
first = connect()
first.pwrite(b"a" * 4096, 0)
sqlblock("snapshot", "create", DB, "web@attached")
first.pwrite(b"b" * 4096, 0)
size = first.get_size()
said = sqlblock("rollback", DB, "web@attached", wanted=5)
assert "process" in said, said
assert bytes(first.pread(4096, 0)) == b"b" * 4096
sqlblock("resize", DB, "web", "+1M")
assert first.get_size() == size
first.pwrite(b"c" * 4096, 4096)
second = connect()
assert second.get_size() == size + 1048576, second.get_size()
second.pwrite(b"d" * 4096, size)
assert bytes(second.pread(4096, size)) == b"d" * 4096
sqlblock("rollback", DB, "web@attached", "--force")
for old in first, second:
    try:
        old.pwrite(b"e" * 4096, 0)
    except nbd.Error:
        pass
    else:
        sys.exit("a write to what was rolled back has succeeded")
third = connect()
assert third.get_size() == size
assert bytes(third.pread(4096, 0)) == b"a" * 4096
assert bytes(third.pread(4096, 4096)) != b"c" * 4096
third.pwrite(b"f" * 4096, 0)
third.flush()
EOF2
/usr/bin/python3 attached.py "$(uri through.nbd web)" "$control"

# The command does not even open the file.
if type -P strace >/dev/null && strace -o trace true 2>/dev/null; then
  strace -f -o trace sqlblock --control="$control" check -q through/d.sqlite
  ! grep -E 'open(at)?\(.*d\.sqlite' trace ||
    fail "a command has opened the database"
  ! grep SCM_RIGHTS trace || fail "a descriptor was passed"
else
  echo "strace is not there: what is opened was not looked at"
fi

ends 0 delete d.sqlite sent --snapshots --no-reclaim
ends 0 compact -q d.sqlite
sqlblock --control="$control" info through/d.sqlite --json | python3 -c '
import json, sys
file = json.load(sys.stdin)
assert file["free"] == 0 and file["reclaimable"] == 0, file'
for way in beside through; do
  stop_nbdkit "$(cat "$way.nbd.pid")"
  [ ! -e "$way.control" ] || fail "a socket was left behind"
  sqlblock check -q "$way/d.sqlite"
done

# What is damaged is found and said in the same way, and fails with the same.
for way in beside through; do
  rm "$way"/d.sqlite*
  sqlblock import -q "$way/d.sqlite" hurt image --create
  # A disk of a program that stores it in a way of its own.
  sqlblock create -q "$way/d.sqlite" novel --size=1M
  "$top_builddir/tests/seal" "$way/d.sqlite" live "INSERT INTO feature
    SELECT (SELECT max (id) + 1 FROM feature), 'novel', id, 3, 0
    FROM disk WHERE name = 'novel'"
  query "$way/d.sqlite" "UPDATE disk SET compression = 99, deduplicate = 7
    WHERE name = 'novel'"
  "$top_builddir/tests/seal" "$way/d.sqlite" rows
  change "$way/d.sqlite" "UPDATE block SET data = zeroblob (4096)
    WHERE layer = (SELECT layer FROM disk WHERE name = 'hurt')
    AND number IN (3, 5)"
  change "$way/d.sqlite" "INSERT INTO property (kind, owner, key, value,
    checksum) SELECT 1, id, 'user:bad', 'x', 0 FROM disk WHERE name = 'hurt'"
  start_nbdkit "$way.nbd" "$plugin" "$tmp/$way/d.sqlite" \
    control="$tmp/$way.control"
  await_answer "$way.nbd"
done
ends 6 check d.sqlite
ends 6 check d.sqlite --json
grep -q '"block": 5' through.out || fail "a block is not named"
ends 1 export d.sqlite hurt -
ends 0 info d.sqlite hurt --json
ends 0 list d.sqlite --all
grep -q "^novel .*unusable" through.out || fail "the list: $(cat through.out)"
ends 0 info d.sqlite novel --json
ends 1 recompress d.sqlite hurt
for way in beside through; do
  stop_nbdkit "$(cat "$way.nbd.pid")"
done
echo "$calls calls in both ways"
