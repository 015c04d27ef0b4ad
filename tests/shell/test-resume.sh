#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# receive --resumable and send --resume: what was cut off is gone on with, and
# arrives equal; what does not go on exactly there is refused; nothing that was
# kept is lost unless that is asked for.
#
# SOAK=yes cuts more often.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh nbdcopy python3 cmp mkfifo

PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=here.sqlite
there=there.sqlite
export fails_input=stream
: >stream

# write DISK NUMBER: change the disk here and there.
write ()
{
  nbdkit -U - "$plugin" "$db" \
    --run "nbdsh -u 'nbd+unix:///$1?socket='\$unixsocket -c '
import random
random.seed($2)
size = h.get_size()
for i in range(30):
    length = random.randint(1, 90000)
    offset = random.randrange(size - length)
    if i % 3 < 2:
        h.pwrite(random.randbytes(length), offset)
    else:
        h.zero(length, offset)
h.flush()'"
}

# token FILE: what is kept there.
token ()
{
  sqlblock list -q "$1" --json | python3 -c '
import json, sys
for kept in json.load(sys.stdin)["receiving"]:
    print(kept["token"])'
}

# same FILE SNAPSHOT [SNAPSHOT-THERE]
same ()
{
  rm -f a b
  sqlblock export -q "$db" "$2" a
  sqlblock export -q "$1" "${3-$2}" b
  cmp a b || fail "$2 differs in $1"
}

sqlblock create -q "$db" web --size 5000123
for i in 0 1 2; do
  write web $i
  sqlblock snapshot create -q "$db" "web@$i"
done
sqlblock bookmark create -q "$db" web@1 mark

# --- Cut at random places ----------------------------------------------------

cat >cuts.py <<'E2'
# cuts.py FILE CUTS ARGUMENT...: send ARGUMENTs into FILE, cut off at about as
# many random places.
import json, os, random, subprocess, sys

there, cuts, *arguments = sys.argv[1:]
cuts = int(cuts)
seed = random.randrange(1 << 32)
print("seed", seed)
random.seed(seed)
chain = "-R" in arguments
resumed = None
refused = arrived = kept = 0

def send(more):
    return subprocess.run(["sqlblock", "send", "-q", "here.sqlite", *more],
                          stdout=subprocess.PIPE, check=True).stdout

def receive(data):
    option = [] if resumed and random.random() < 0.5 else ["-s"]
    done = subprocess.run(["sqlblock", "receive", there, "--json", *option],
                          input=data, capture_output=True)
    return done.returncode, done.stdout, done.stderr.decode()

def listed():
    if not os.path.exists(there):
        return []
    done = subprocess.run(["sqlblock", "list", "-q", "--json", there],
                          stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)["receiving"]

whole = len(send(arguments))
while True:
    if resumed and not chain:
        stream = send(["--resume=" + resumed])
    elif resumed:
        stream = send([*arguments, "--resume=" + resumed])
    else:
        stream = send(arguments)
    if cuts == 0:
        code, _, text = receive(stream)
        assert code == 0, text
        break
    cuts -= 1
    cut = random.randrange(min(len(stream), max(1, whole * 2 // (cuts + 2))))
    damaged = random.random() < 0.3
    data = stream[:cut]
    if damaged and cut > 0:
        # What is behind the damage does not get in.
        data = bytearray(data + stream[cut:])
        data[cut] ^= 1 << random.randrange(8)
    before = listed()
    code, out, text = receive(bytes(data))
    assert code == 1 and text.startswith(("sqlblock: ", "received", "1", "2",
                                          "3", "4", "5", "6", "7", "8", "9")), \
        (code, text)
    after = listed()
    assert len(after) <= 1
    if out:
        told = json.loads(out)["kept"]
        assert told == (after[0] if after else None), (told, after)
    if after and before and after[0]["snapshot"] == before[0]["snapshot"]:
        assert after[0]["position"] >= before[0]["position"]
    if before and not after:
        assert chain
    kept += len(after)
    resumed = after[0]["token"] if after else None
    if after:
        assert after[0]["token"] in text, text
assert listed() == []
print(kept, "times something was kept")
E2

cuts=6
[ "${SOAK-}" != yes ] || cuts=60
python3 cuts.py "$there" "$cuts" web@0
same "$there" web@0
python3 cuts.py "$there" "$cuts" web@1 --from=0
same "$there" web@1
python3 cuts.py "$there" "$cuts" web@2 --from='#mark'
same "$there" web@2
sqlblock check -q "$there"

# A chain with clones: what is complete is there, and the rest follows.
sqlblock clone -q "$db" web@1 test
write test 7
sqlblock snapshot create -q "$db" test@x
python3 cuts.py chain.sqlite $((2 * cuts)) -R web test
for i in web@0 web@1 web@2 test@x; do
  same chain.sqlite "$i"
done
[ "$(sqlblock list chain.sqlite --bare -o name,origin | tail -1)" = \
  "$(printf 'test\tweb@1')" ] || fail "the clone is none"
sqlblock check -q chain.sqlite

# A disk that was not sent before is not left out unsaid.
sqlblock create -q two.sqlite old --size 4096
sqlblock snapshot create -q two.sqlite old@1
head -c 3000000 /dev/urandom >image
sqlblock import -q two.sqlite web image
sqlblock snapshot create -q two.sqlite web@1
sqlblock send -q two.sqlite -R web >whole
head -c 2500000 whole >stream
fails 1 "are kept" receive -s late.sqlite
sqlblock send two.sqlite -R web old --resume="$(token late.sqlite)" 2>err |
  sqlblock receive -q late.sqlite
grep -qF "left out 'old@1', which came before the rest" err
grep -qF "nothing is sent of disk 'old'" err || fail "not said: $(cat err)"
sqlblock send -q two.sqlite -R old | sqlblock receive -q late.sqlite

# --- What is kept, and shown -------------------------------------------------

write web 3
sqlblock snapshot create -q "$db" web@3
sqlblock send -q "$db" web@3 --from=2 >whole
head -c $(($(stat -c %s whole) / 2)) whole >stream
fails 1 "too early" receive "$there"
[ -z "$(token "$there")" ] || fail "it was kept although nobody asked for it"
fails 1 "are kept; to go on, send the rest" receive -s "$there"
first=$(token "$there")
grep -qF -- "--resume=$first" err || fail "the token is not shown: $(cat err)"
sqlblock list "$there" 2>err >out
grep -qF -- "--resume=$first" err || fail "list does not show it"
sqlblock info "$there" web | grep -qF -- "--resume=$first" ||
  fail "info does not show it"
sqlblock check -q "$there"
sqlblock check -q "$there" --repair >out
sqlblock compact -q "$there" >out
[ "$(token "$there")" = "$first" ] || fail "others have removed it"
same "$there" web@2
rm b
sqlblock export -q "$there" web b
cmp a b || fail "the disk shows what has not arrived"

# Flattening would copy what the disk only does not have for so long.
fails 5 "receive --abort DATABASE web" flatten "$there" web
[ "$(token "$there")" = "$first" ] || fail "flatten has changed it"

# What is salvaged may lack blocks: nothing goes on there.
sqlblock check "$there" --salvage=saved.sqlite >out 2>&1 || :
grep -q "^saved 1 disk, 3 snapshots" out || fail "salvage: $(cat out)"
[ -z "$(token saved.sqlite)" ] || fail "salvage has kept it"
sqlblock check -q saved.sqlite
sqlblock receive -q saved.sqlite <whole
same saved.sqlite web@3

# It is not lost to another reception, nor to an import.
cp whole stream
fails 4 "is kept; send the rest" receive "$there"
fails 4 "is kept; send the rest" receive -s "$there"
[ "$(token "$there")" = "$first" ]
sqlblock send -q "$db" web@2 >stream
sqlblock receive -q "$there" elsewhere <stream
sqlblock delete -q "$there" elsewhere --snapshots
[ "$(token "$there")" = "$first" ]

# Tokens: damaged, of another database, old, for something else.
fails 1 "this is no token" send "$db" --resume=hello
fails 1 "the token is damaged" send "$db" --resume="${first%?}x"
fails 1 "the token is damaged" send "$db" --resume="${first%??????}"
fails 3 "not in this database" send "$there" --resume="$first"
fails 3 "not one of those" send "$db" -R test --resume="$first"
fails 1 "about another snapshot" send "$db" web@2 --resume="$first"
fails 2 "leave out --from" send "$db" --from=2 --resume="$first"
fails 2 "arguments are missing" send "$db"
sqlblock send -q "$db" web@3 --resume="$first" >stream
cmp <(sqlblock send -q "$db" --resume="$first") stream
fails 3 "there is no disk 'other'" receive "$there" other
fails 3 "no file" receive nowhere.sqlite
[ ! -e nowhere.sqlite ] || fail "a database was made of a rest"
cp stream rest
head -c $(($(stat -c %s rest) * 2 / 3)) rest >stream
fails 1 "too early" receive "$there"
second=$(token "$there")
[ "$second" != "$first" ] || fail "a part of the rest was not kept"
cp rest stream
fails 1 "its token is an old one" receive "$there"
# Its base is gone here, but there is a bookmark; or neither.
sqlblock bookmark create -q "$db" web@2 two
sqlblock snapshot delete -q "$db" web@2
sqlblock send -q "$db" --resume="$second" >rest
sqlblock bookmark delete -q "$db" 'web#two'
fails 3 "nor a bookmark of it" send "$db" --resume="$second"

# The disk that it is for was written: it stays, and is refused.
start_nbdkit wrote "$plugin" "$there"
nbdsh -u "$(uri wrote web)" -c 'h.pwrite(b"x" * 4096, 0)'
stop_nbdkit
cp rest stream
fails 1 "was written since" receive "$there"
[ "$(token "$there")" = "$second" ]
sqlblock receive -q "$there" --rollback <rest
same "$there" web@3
[ -z "$(token "$there")" ]
sqlblock check -q "$there"

# --- Given up ----------------------------------------------------------------

fails 3 "nothing that was received for disk 'web' is kept" \
  receive --abort "$there" web
fails 2 "needs the name of the disk" receive --abort "$there"
head -c 3000000 /dev/urandom >image
sqlblock import -q "$db" image image
sqlblock snapshot create -q "$db" image@1
sqlblock send -q "$db" image@1 >whole
head -c 2500000 whole >stream
fails 1 "are kept" receive -s "$there" image
fails 2 "leave out the other" receive --abort -s "$there" image
sqlblock receive --abort "$there" image 2>err
grep -q "^freed" err || fail "its space was not freed: $(cat err)"
[ -z "$(token "$there")" ]
fails 1 "are kept" receive -s "$there" image
sqlblock send -q "$db" --resume="$(token "$there")" >stream
sqlblock receive --abort -q "$there" image
fails 1 "nothing of that is kept" receive "$there" image
[ "$(query "$there" "SELECT count (*) FROM disk WHERE name LIKE '%/%'")" = 0 ]

# An abort that is killed halfway leaves nothing that could be gone on with.
head -c 8000000 /dev/urandom >image
sqlblock create -q many.sqlite many --size 8000000 --block-size 512
sqlblock snapshot create -q many.sqlite many@0
sqlblock send -q many.sqlite many@0 | sqlblock receive -q less.sqlite
nbdkit -U - "$plugin" many.sqlite \
  --run 'nbdcopy image "nbd+unix:///many?socket=$unixsocket"'
sqlblock snapshot create -q many.sqlite many@1
sqlblock send -q many.sqlite many@1 --from=0 >whole
head -c 7500000 whole >stream
fails 1 "are kept" receive -s less.sqlite
python3 - <<'E2'
import sqlite3, subprocess, time
db = sqlite3.connect("file:less.sqlite?mode=ro", uri=True)
count = lambda: db.execute("SELECT count (*) FROM block").fetchone()[0]
before = count()
abort = subprocess.Popen(["sqlblock", "receive", "--abort", "-q",
                          "less.sqlite", "many"])
while count() == before and abort.poll() is None:
    time.sleep(0.0002)
abort.kill()
abort.wait()
assert 0 < count() < before, (count(), before)
E2
[ -z "$(token less.sqlite)" ] || fail "a part of what was kept is kept"
sqlblock receive -q less.sqlite <whole
rm -f a b
sqlblock export -q many.sqlite many@1 a
sqlblock export -q less.sqlite many@1 b
cmp a b || fail "many@1 differs"
sqlblock check -q less.sqlite

# A name that begins with a space.
sqlblock import -q "$db" ' ' image
sqlblock snapshot create -q "$db" ' @ '
sqlblock send -q "$db" ' @ ' >whole
head -c 2500000 whole >stream
fails 1 "of ' @ ' are kept" receive -s "$there"
sqlblock send -q "$db" --resume="$(token "$there")" |
  sqlblock receive -q "$there"
same "$there" ' @ '

# With its disk that goes which was to change it.
write web 4
sqlblock snapshot create -q "$db" web@4
sqlblock send -q "$db" web@4 --from=3 >whole
head -c $(($(stat -c %s whole) / 2)) whole >stream
sqlblock send -q "$db" web@3 >web
sqlblock receive -q gone.sqlite <web
fails 1 "are kept" receive -s gone.sqlite
sqlblock rename -q gone.sqlite web www
sqlblock info gone.sqlite www | grep -q "^received" || fail "not renamed with it"
# ... with it into the trash, and back.
sqlblock set -q gone.sqlite trash=7d
sqlblock delete -q gone.sqlite www --snapshots
[ -z "$(token gone.sqlite)" ]
sqlblock check -q gone.sqlite
sqlblock undelete -q gone.sqlite www web
cp gone.sqlite back.sqlite
sqlblock send -q "$db" --resume="$(token back.sqlite)" |
  sqlblock receive -q back.sqlite
same back.sqlite web@4
sqlblock check -q back.sqlite
sqlblock delete -q gone.sqlite web --snapshots
sqlblock trash empty -q gone.sqlite
[ "$(query gone.sqlite "SELECT count (*) FROM disk")" = 0 ]
sqlblock check -q gone.sqlite

# --- kill -9, and a server ---------------------------------------------------

mkfifo fifo
sqlblock receive -s -q "$there" <fifo &
pid=$!
started_pids+=("$pid")
exec 9>fifo
head -c $(($(stat -c %s whole) / 2)) whole >&9
sleep 1.2
head -c $(($(stat -c %s whole) / 2 + 300000)) whole |
  tail -c 300000 >&9
is_kept ()
{
  [ -n "$(token "$there")" ]
}
wait_for is_kept
fails 5 "just being received" receive --abort "$there" web
sqlblock send -q "$db" --resume="$(token "$there")" >stream
fails 5 "" receive "$there"
! grep -q "are kept" err || fail "what comes in is offered: $(cat err)"
kill -9 "$pid"
wait "$pid" 2>/dev/null || :
exec 9>&-
is_kept || fail "kill -9 has lost what was kept"
sqlblock receive -q --abort "$there" web

# Where nothing comes any more, what has come is noted.
sqlblock receive -s "$there" <fifo 2>err &
pid=$!
started_pids+=("$pid")
exec 9>fifo
head -c $(($(stat -c %s whole) / 2)) whole >&9
wait_for is_kept
kill -HUP "$pid"
wait "$pid" && fail "SIGHUP did not end it"
exec 9>&-
grep -q "are kept" err || fail "SIGHUP ended it at once"
sqlblock send -q "$db" --resume="$(token "$there")" | sqlblock receive -q "$there"
same "$there" web@4

write web 5
sqlblock snapshot create -q "$db" web@5
sqlblock send -q "$db" web@5 --from=4 >whole
head -c $(($(stat -c %s whole) / 2)) whole >stream
start_nbdkit served -r "$plugin" "$there" control="$tmp/control"
await_answer served
fails 1 "are kept" receive -s --control="$tmp/control" "$there"
kept=$(sqlblock list -q --json --control="$tmp/control" "$there" | python3 -c '
import json, sys
print(json.load(sys.stdin)["receiving"][0]["token"])')
sqlblock send -q "$db" --resume="$kept" |
  sqlblock receive -q --control="$tmp/control" "$there"
sqlblock send -q "$db" image@1 >whole
head -c 2000000 whole >stream
fails 1 "are kept" receive -s --control="$tmp/control" "$there"
sqlblock receive --abort -q --control="$tmp/control" "$there" image
stop_nbdkit
same "$there" web@5
[ -z "$(token "$there")" ]
sqlblock check -q "$there"
