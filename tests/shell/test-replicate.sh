#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# sqlblock send --all-snapshots: a chain of 50 snapshots with trims, a roll-back
# and changes of size, three clones of it and a clone of one of these come to
# another database as they were, blocks as they are stored and clones as clones.
# What is cut anywhere, or killed, leaves snapshots that are complete, and goes
# on. The number of bytes is known before.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3 sha256sum mkfifo

PATH=$top_builddir/tool:$PATH
cd "$tmp"
here=here.sqlite
seed=${SEED:-$RANDOM}
echo "seed $seed"
RANDOM=$seed

# --- A history ---------------------------------------------------------------

# The steps are made through a server, which is told of roll-backs.
cat >history.py <<'EOF2'
import nbd, random, subprocess, sys

db, socket, seed, first, last = sys.argv[1:4] + [int(n) for n in sys.argv[4:]]
random.seed(int(seed) + first)

def sqlblock (*words):
    subprocess.run(["sqlblock", words[0], "-q", *words[1:]], check=True)

def change (disk):
    handle = nbd.NBD()
    handle.connect_uri("nbd+unix:///%s?socket=%s" % (disk, socket))
    size = handle.get_size()
    for _ in range(6):
        length = random.randint(1, 60000)
        offset = random.randrange(size - length)
        data = random.randbytes(length)
        if random.random() < 0.5:       # what shrinks
            data = bytes([random.randrange(256)]) * length
        handle.pwrite(data, offset)
    handle.trim(100000, random.randrange(size - 100000))
    handle.zero(50000, random.randrange(size - 50000))
    handle.shutdown()

def snapshot (disk, name):
    change(disk)
    subprocess.run(["sqlblock", "snapshot", "create", "-q", db,
                    "%s@%s" % (disk, name)], check=True)

for i in range(first, last + 1):
    snapshot("web", i)
    if i == 10:
        sqlblock("clone", db, "web@8", "one")
        snapshot("one", "a")
        snapshot("one", "b")
    elif i == 17:
        sqlblock("set", db, "web", "compression=none", "user:owner=ann")
    elif i == 20:
        sqlblock("rollback", db, "web@15")
    elif i == 25:
        sqlblock("clone", db, "one@a", "sub")
        snapshot("sub", "a")
        sqlblock("clone", db, "web", "two")     # no snapshot shows the same
        snapshot("two", "a")
    elif i == 30:
        sqlblock("resize", db, "web", "3333333")
        sqlblock("rollback", db, "one@a")
        snapshot("one", "c")
    elif i == 40:
        sqlblock("resize", "--shrink", db, "web", "2222222")
        sqlblock("clone", db, "web@35", "three")
        sqlblock("resize", "--shrink", db, "three", "1000000")
        snapshot("three", "a")
    elif i == 55:
        sqlblock("clone", db, "two@a", "late")
        snapshot("late", "a")
        snapshot("sub", "b")
EOF2
sqlblock create -q "$here" web --size 3000000 --description "the web"
start_nbdkit here "$plugin" "$here"
here_pid=$nbdkit_pid
await_answer here
python3 history.py "$here" "$tmp/here" "$seed" 1 50
sqlblock describe -q "$here" web@3 "the third"
sqlblock set -q "$here" web@4 user:ticket=17
disks=(web one sub two three)

cat >sums.py <<'EOF2'
import hashlib, nbd, sys

for name in sys.stdin.read().split():
    handle = nbd.NBD()
    handle.connect_uri("nbd+unix:///%s?socket=%s" % (name, sys.argv[1]))
    data = handle.pread(handle.get_size(), 0)
    print(name, handle.get_size(), hashlib.sha256(data).hexdigest())
    handle.shutdown()
EOF2

# sums FILE: the checksums of all snapshots that a database has.
sums ()
{
  sqlblock snapshot list "$1" -H -o name >names
  nbdkit -r -U - "$plugin" "$1" \
    --run 'python3 sums.py "$unixsocket" <names' | sort
}

# same FILE: all snapshots of $here are there, and are the same.
same ()
{
  sums "$1" >"$1.sums"
  cmp "$here.sums" "$1.sums" || fail "$1 differs: $(diff "$here.sums" "$1.sums")"
  sqlblock check -q "$1" >"$1.check" || fail "$1: $(cat "$1.check")"
}

# part FILE: those that are there are the same.
part ()
{
  [ -e "$1" ] || return 0
  sums "$1" >"$1.sums"
  [ -z "$(comm -13 "$here.sums" "$1.sums")" ] || fail "$1 differs"
  sqlblock check -q "$1" >"$1.check" || fail "$1: $(cat "$1.check")"
}

sums "$here" >"$here.sums"
grep -c . "$here.sums" | grep -qx 56

# --- All at once -------------------------------------------------------------

sqlblock send "$here" -R "${disks[@]}" >all 2>err
grep -qF "sent 56 snapshots of 5 disks" err
[ "$(sqlblock send "$here" -R "${disks[@]}" --estimate --json |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["bytes"])')" = \
  "$(stat -c %s all)" ] || fail "the estimate is wrong"
sqlblock send "$here" -R "${disks[@]}" --estimate -p |
  grep -q "^total .*$(stat -c %s all)$"
sqlblock receive there.sqlite <all 2>err || fail "$(cat err)"
grep -c "^received" err | grep -qx 56
same there.sqlite

# Names, times, texts and what was set; clones are clones, and take no more.
sqlblock snapshot list "$here" --json >here.json
sqlblock snapshot list there.sqlite --json >there.json
sqlblock list "$here" --json >>here.json
sqlblock list there.sqlite --json >>there.json
python3 - here.json there.json <<'EOF2'
import json, sys
def of (path):
    text = open(path).read()
    first, at = json.JSONDecoder().raw_decode(text)
    second = json.loads(text[at:])
    snapshots = first["snapshots"]
    disks = [[disk[key] for key in ("name", "description", "size", "block_size",
                                    "compression", "dedup", "snapshots",
                                    "user")]
             for disk in second["disks"]]
    return sorted(snapshots, key=str), sorted(disks, key=str)
here, there = of(sys.argv[1]), of(sys.argv[2])
for mine, its in zip(here, there):
    for one, other in zip(mine, its):
        if one != other:
            sys.exit("%s\nis not\n%s" % (one, other))
    assert len(mine) == len(its)
EOF2
for clone in one:web@8 sub:one@a three:web@35; do
  sqlblock info there.sqlite "${clone%:*}" |
    grep -q "^origin: *${clone#*:}$" || fail "$clone is no clone"
done
sqlblock compact -q "$here"
sqlblock compact -q there.sqlite
rows="SELECT sum (length (data)) FROM block"
[ "$(query there.sqlite "$rows")" -lt $(($(query "$here" "$rows") * 5 / 4)) ] ||
  fail "what is shared is there twice"
codecs="SELECT codec, count (*) FROM block JOIN snapshot USING (layer)
  JOIN disk ON disk.id = snapshot.disk WHERE disk.name = 'web'
  AND snapshot.name = '1' AND block.generation = 1 GROUP BY codec ORDER BY 1"
[ "$(query "$here" "$codecs")" = "$(query there.sqlite "$codecs")" ] ||
  fail "blocks of web@1 are stored in another way"
sqlblock receive -q again.sqlite --compression=none <all
[ "$(query again.sqlite "SELECT count (*) FROM block
  WHERE codec NOT IN (0, 1)")" = 0 ] || fail "--compression does not count"
same again.sqlite

# --- What is in it -----------------------------------------------------------

sqlblock stream info all --json >info.json
python3 - info.json "$(stat -c %s all)" <<'EOF2'
import json, sys
info = json.load(open(sys.argv[1]))
assert info["complete"] and info["count"] == 56, info
assert info["bytes"] == int(sys.argv[2]) == \
    sum(one["bytes"] for one in info["streams"])
assert [one["part"] for one in info["streams"]] == list(range(1, 57))
assert [one["disk"] for one in info["streams"] if one["clone"]] == \
    ["one", "sub", "two", "three"], info
EOF2
sqlblock stream info <all 2>err | grep -c @ | grep -qx 56
grep -qF "56 streams, complete" err
got=0
head -c -30 all | sqlblock stream info >out 2>err || got=$?
[ "$got" = 6 ] || fail "a stream that is cut: exit code $got"
grep -qF "(in part)" out
(head -c 100000 all && echo x && tail -c +100003 all) >changed
got=0
sqlblock stream info changed --json >out 2>err || got=$?
[ "$got" = 6 ] && grep -q '"complete": false' out && grep -q damaged err ||
  fail "a stream with a changed byte: exit code $got"
fails 1 "not a stream" stream info info.json
fails 3 "No such file" stream info nothing

# What would be done; nothing is.
sqlblock receive -n dry.sqlite <all >out
grep -c "^would receive" out | grep -qx 56
[ ! -e dry.sqlite ] || fail "a dry run makes a database"
sqlblock receive -n there.sqlite <all | grep -qF "56 snapshots, there already"

# --- Cut ---------------------------------------------------------------------

# The places where streams begin and end, and others.
python3 - info.json "$seed" <<'EOF2' >cuts
import json, random, sys
random.seed(int(sys.argv[2]))
info = json.load(open(sys.argv[1]))
ends = [0]
for one in info["streams"]:
    ends.append(ends[-1] + one["bytes"])
print(*random.sample(range(1, ends[-1]), 13),
      *[random.choice(ends[1:-1]) + more for more in (-1, 0, 0, 1, 23, 24, 25)])
EOF2
for cut in $(cat cuts); do
  rm -f cut.sqlite*
  got=0
  head -c "$cut" all | sqlblock receive cut.sqlite 2>err || got=$?
  [ "$got" = 1 ] || fail "cut at $cut: exit code $got, $(cat err)"
  part cut.sqlite
  grep -c "^received" err | cmp - <(grep -c . cut.sqlite.sums || :) ||
    fail "cut at $cut: there are others than it says"
  if [ $((cut % 3)) = 0 ]; then
    sqlblock receive -q cut.sqlite <all
    same cut.sqlite
  fi
done

# From the last one on, which it says; a server has the database.
rm -f cut.sqlite*
sqlblock create -q cut.sqlite other --size=1m
start_nbdkit cut "$plugin" cut.sqlite control="$tmp/control"
await_answer cut
from=()
for i in 1 2 3 4 5 6; do
  way=()
  [ $((i % 2)) = 0 ] || way=(--control="$tmp/control")
  sqlblock send -q "$here" -R web "${from[@]}" >rest
  got=0
  head -c $(($(stat -c %s rest) * (RANDOM % 60 + 20) / 100)) rest |
    sqlblock "${way[@]}" receive cut.sqlite 2>err || got=$?
  [ "$got" = 1 ] || fail "cut: exit code $got, $(cat err)"
  part_of=$(sed -n "s/.*the last is 'web@\([0-9]*\)'.*/\1/p" err)
  [ -z "$part_of" ] || from=(--from="@$part_of")
done
sqlblock send -q "$here" -R web "${from[@]}" |
  sqlblock receive -q cut.sqlite
sqlblock send -q "$here" -R "${disks[@]:1}" --from=web@50 >clones
sqlblock --control="$tmp/control" receive -q cut.sqlite <clones
stop_nbdkit
same cut.sqlite

# --- kill -9 -----------------------------------------------------------------

mkfifo fifo
for i in 1 2 3; do
  rm -f cut.sqlite*
  sqlblock receive -q cut.sqlite <fifo &
  receiver=$!
  started_pids+=("$receiver")
  exec 9>fifo
  (head -c $(($(stat -c %s all) * i / 4)) all >&9) &
  feeder=$!
  wait "$feeder"
  sleep 0.2
  kill -9 "$receiver"
  wait "$receiver" 2>/dev/null || :
  exec 9>&-
  part cut.sqlite
  [ -s cut.sqlite.sums ] || fail "nothing has arrived"
done
sqlblock receive -q cut.sqlite <all
same cut.sqlite

# --- More of it --------------------------------------------------------------

python3 history.py "$here" "$tmp/here" "$seed" 51 60
sums "$here" >"$here.sums"
disks+=(late)
sqlblock send "$here" -R "${disks[@]}" --from=50 2>err >more
grep -qF "disk 'sub' has no snapshot '50': it is sent from its beginning" err
for file in there.sqlite again.sqlite; do
  sqlblock receive "$file" <more 2>err
  same "$file"
done
sqlblock info there.sqlite late | grep -q "^origin: *two@a$"
fails 1 "nothing to be sent" send "$here" -R web --from=60
fails 3 "no snapshot 'x'" send "$here" -R web --from=x
fails 3 "no snapshot 'x'" send "$here" -R web one --from=@x 2>/dev/null
fails 2 "named twice" send "$here" -R web web@5
fails 2 "an argument too many" send "$here" web@1 one@a
fails 2 "JSON" send "$here" web@1 --json
sqlblock create -q "$here" bare --size=1m
fails 3 "no snapshot to be sent" send "$here" -R bare

# Up to one of them; a clone alone is whole where its origin does not go along.
sqlblock send -q "$here" -R web@7 | sqlblock receive -q seven.sqlite
part seven.sqlite
grep -c . seven.sqlite.sums | grep -qx 7
sqlblock send -q "$here" -R one | sqlblock receive -q one.sqlite
part one.sqlite
grep -c . one.sqlite.sums | grep -qx 3
sqlblock info one.sqlite one | grep -q "^origin: *-$"

# One clone, as what it was made of is there, under any name.
sqlblock rename -q seven.sqlite web net
sqlblock send -q "$here" -R web | sqlblock receive -q nine.sqlite net
sqlblock send -q "$here" one@a --from=web@8 >clone
sqlblock receive -q nine.sqlite mine <clone
sqlblock info nine.sqlite mine | grep -q "^origin: *net@8$"
[ "$(sqlblock export -q nine.sqlite mine@a - | sha256sum)" = \
  "$(sqlblock export -q "$here" one@a - | sha256sum)" ]
[ "$(sqlblock send "$here" one@a --from=web@8 --estimate -p |
  sed -n 's/^total.* //p')" = "$(stat -c %s clone)" ]
fails_input=clone fails 3 "no disk here has the snapshot 'web@8'" \
  receive seven.sqlite
fails_input=clone fails 4 "has this snapshot already" receive nine.sqlite mine
fails 1 "was not cloned from" send "$here" web@9 --from=one@a
fails_input=all fails 1 "keep their names" receive new.sqlite name

# Without blocks as they are stored the number is exact, too.
for from in "" --from=3; do
  sqlblock send -q "$here" web@5 $from >stream
  [ "$(sqlblock send "$here" web@5 $from --estimate -p |
    sed -n 's/^total.* //p')" = "$(stat -c %s stream)" ] ||
    fail "the estimate of web@5 $from is wrong"
done

# Through a server, out as well.
sqlblock --control="$tmp/none" send "$here" -R web 2>err && fail "no server"
stop_nbdkit "$here_pid"
start_nbdkit here "$plugin" "$here" control="$tmp/control"
await_answer here
sqlblock --control="$tmp/control" send -q "$here" -R "${disks[@]}" >through
stop_nbdkit
sqlblock send -q "$here" -R "${disks[@]}" | cmp - through

# --- Names that change meanwhile ---------------------------------------------

# The first part is larger than a pipe, so the sender waits with the others.
sqlblock create -q names.sqlite web --size=1m --compression=none
for i in 1 2 3; do
  head -c 1M /dev/urandom |
    sqlblock import -q names.sqlite web - --overwrite --raw
  sqlblock snapshot create -q names.sqlite "web@$i"
done
mkfifo waiting
sqlblock send names.sqlite -R web >waiting 2>err &
sender=$!
started_pids+=("$sender")
exec 9<waiting
head -c 100 <&9 >stream
sqlblock rename -q names.sqlite web net
sqlblock rename -q names.sqlite net@3 third
cat <&9 >>stream
wait "$sender" || fail "$(cat err)"
exec 9<&-
sqlblock receive named.sqlite <stream 2>err
grep -qF "received 'web@3'" err
[ "$(sqlblock export -q names.sqlite net@third - | sha256sum)" = \
  "$(sqlblock export -q named.sqlite web@3 - | sha256sum)" ]

# An increment says to which disk it could go, and from what it could begin.
sqlblock snapshot create -q names.sqlite net@4
sqlblock send -q names.sqlite net@4 --from=third >more
fails_input=more fails 3 "that of disk 'web': give that name" \
  receive named.sqlite
sqlblock receive -q named.sqlite web <more
sqlblock snapshot create -q names.sqlite net@5
sqlblock snapshot create -q names.sqlite net@6
sqlblock send -q names.sqlite net@6 --from=5 >more
fails_input=more fails 1 "the newest that it has is '4'; send from that" \
  receive named.sqlite web
sqlblock send -q names.sqlite -R net --from=@4 |
  sqlblock receive -q named.sqlite web

# What is deleted before its turn ends the stream; what was sent stays.
sqlblock send names.sqlite -R net >waiting 2>err &
sender=$!
started_pids+=("$sender")
exec 9<waiting
head -c 100 <&9 >stream
sqlblock snapshot delete -q names.sqlite net@third
cat <&9 >>stream
got=0
wait "$sender" || got=$?
exec 9<&-
[ "$got" = 3 ] && grep -q "no snapshot 'third'" err ||
  fail "exit code $got: $(cat err)"
got=0
sqlblock receive ended.sqlite <stream 2>err || got=$?
[ "$got" = 1 ] && grep -qF "the last is 'net@2'" err || fail "$(cat err)"
sqlblock send -q names.sqlite -R net | sqlblock receive -q ended.sqlite
sqlblock snapshot list ended.sqlite net -H -o name | grep -c . | grep -qx 5
