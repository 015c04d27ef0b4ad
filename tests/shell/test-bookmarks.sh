#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Bookmarks: what has changed since a snapshot that is gone is sent, and arrives
# equal; what does not come from a bookmark is not sent. (Random histories are
# in unit-history.c.)

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh nbdcopy python3 cmp

PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=here.sqlite
there=there.sqlite
export fails_input=stream
: >stream

# change NUMBER: write, trim and zero here and there in the disk web.
change ()
{
  nbdkit -U - "$plugin" "$db" \
    --run "nbdsh -u 'nbd+unix:///web?socket='\$unixsocket -c '
import random
random.seed($1)
size = h.get_size()
for i in range(24):
    length = random.randint(1, 60000)
    offset = random.randrange(size - length)
    if i % 4 < 2:
        h.pwrite(random.randbytes(length), offset)
    if i % 4 == 2:
        h.zero(length, offset)
    if i % 4 == 3:
        h.trim(length, offset)
h.flush()'"
}

# same SNAPSHOT: both databases show the same.
same ()
{
  rm -f a b
  sqlblock export -q "$db" "$1" a
  sqlblock export -q "$there" "$1" b
  cmp a b || fail "$1 differs"
}

# Each snapshot goes when the next bookmark is made, and is reclaimed.
sqlblock create -q "$db" web --size 3333333
change 0
sqlblock snapshot create -q "$db" web@0
sqlblock send -q "$db" web@0 | sqlblock receive -q "$there"
sqlblock bookmark create -q "$db" web@0 last
for i in 1 2 3 4 5 6 7 8; do
  sqlblock snapshot delete -q "$db" "web@$((i - 1))"
  change "$i"
  [ "$i" != 3 ] || sqlblock resize -q "$db" web 2000000 --shrink
  [ "$i" != 4 ] || sqlblock resize -q "$db" web 4000000
  [ "$i" != 5 ] || sqlblock recompress -q "$db" web
  [ "$i" != 6 ] || sqlblock set -q "$db" web dedup=on
  [ "$i" != 7 ] || { sqlblock snapshot create -q "$db" web@x
                     change 77; sqlblock rollback -q "$db" web@x
                     sqlblock snapshot delete -q "$db" web@x; }
  sqlblock compact -q "$db"
  sqlblock snapshot create -q "$db" "web@$i"
  case $i in
    1) from='#last' ;;
    2) from='web#last' ;;
    *) from='#last' ;;
  esac
  sqlblock send "$db" "web@$i" --from="$from" >stream 2>err
  grep -qF "from bookmark 'web#last' to 'web@$i'" err
  sqlblock receive -q "$there" <stream
  same "web@$i"
  sqlblock bookmark delete -q "$db" 'web#last'
  sqlblock bookmark create -q "$db" "web@$i" '#last'
done
sqlblock check -q "$db"

# --- Lists, and what is refused ----------------------------------------------

sqlblock bookmark create "$db" web@8 'web#second' 2>err
[ "$(cat err)" = "made bookmark 'web#second'" ]
sqlblock bookmark list "$db" web --bare -o name,snapshot,usable >list
printf 'web#last\t8\tyes\nweb#second\t8\tyes\n' | cmp - list ||
  fail "the list: $(cat list)"
sqlblock bookmark list "$db" --json | python3 -c '
import json, sys
first = json.load(sys.stdin)["bookmarks"][0]
assert first["disk"] == "web" and first["bookmark"] == "last", first
assert first["snapshot"] == "8" and first["size"] == 4000000, first
assert first["usable"] is True and len(first["guid"]) == 16, first'
fails 4 "bookmark 'web#last' already" bookmark create "$db" web@8 last
fails 2 "the name of a bookmark" bookmark create "$db" web@8 'x/y'
fails 2 "one of the snapshot's disk" bookmark create "$db" web@8 'mail#x'
fails 2 "made of a snapshot" bookmark create "$db" web x
fails 3 "no snapshot 'y'" bookmark create "$db" web@y x
fails 3 "no bookmark 'y'; it has: 'last' 'second'" bookmark delete "$db" 'web#y'
fails 3 "no bookmark 'y'" bookmark delete "$db" 'web#last' 'web#y'
fails 2 "give DISK#BOOKMARK" bookmark delete "$db" web
sqlblock bookmark delete "$db" 'web#last' -n |
  grep -qx "would delete bookmark 'web#last'"
sqlblock bookmark list "$db" --bare -o name | grep -c . | grep -qx 2
fails 1 "of 'web@8' itself" send "$db" web@8 --from='#last'
fails 3 "no bookmark 'y'" send "$db" web@8 --from='#y'
fails 1 "no snapshot is newer than '#last'" send "$db" -R web --from='#last'
fails 3 "no bookmark 'y'" send "$db" -R web --from='web#y'

# A name with a '#' can be a disk's and a snapshot's.
sqlblock create -q "$db" 'a#b' --size 10000
sqlblock snapshot create -q "$db" 'a#b@#one'
sqlblock snapshot create -q "$db" 'a#b@two'
sqlblock send -q "$db" 'a#b@two' --from='@#one' >stream
sqlblock bookmark create -q "$db" 'a#b@two' x
sqlblock bookmark list "$db" 'a#b' --bare -o name | grep -qxF 'a#b#x'
sqlblock bookmark delete -q "$db" 'a#b#x'
sqlblock clone -q "$db" 'a#b@two' a
sqlblock snapshot create -q "$db" a@1
sqlblock send "$db" a@1 --from='a#b@two' 2>err >stream
grep -qF "from 'a#b@two' to 'a@1'" err
sqlblock send -q "$db" -R a --from='a#b@two' >stream

# And one that begins with a space.
sqlblock snapshot create -q "$db" 'a#b@ '
sqlblock bookmark create -q "$db" 'a#b@ ' ' x'
sqlblock snapshot create -q "$db" 'a#b@three'
sqlblock bookmark list "$db" 'a#b' --bare -o name,snapshot >list
printf 'a#b# x\t \n' | cmp - list || fail "the list: $(cat list)"
sqlblock send -q "$db" 'a#b@three' --from='# x' >stream
sqlblock bookmark delete -q "$db" 'a#b# x'

# --- A chain from a bookmark on ----------------------------------------------

# Of web@2 and mail@2, which are gone here, what came later is sent.
db=chain.sqlite there=chained.sqlite
sqlblock create -q "$db" web --size 3333333
sqlblock create -q "$db" mail --size 10000
for i in 1 2 3 4; do
  change "$i"
  sqlblock snapshot create -q "$db" "web@$i" "mail@$i"
  [ "$i" = 2 ] || continue
  sqlblock send -q "$db" -R web mail | sqlblock receive -q "$there"
  for disk in web mail; do
    sqlblock bookmark create -q "$db" "$disk@2" sent
  done
  sqlblock clone -q "$db" web@1 one web@2 two
  sqlblock snapshot delete -q "$db" web@2 mail@2
done
sqlblock snapshot create -q "$db" one@a two@a
chain=(-R web mail one two --from='#sent')
sqlblock send "$db" "${chain[@]}" >stream 2>err
grep -qF "disk 'one' has no bookmark 'sent': it is sent from its beginning" err
sqlblock stream info stream 2>err >out
grep -q '^web@3  *web@2 ' out && grep -q '^mail@3  *mail@2 ' out ||
  fail "the stream has: $(cat out)"
[ "$(sqlblock send "$db" "${chain[@]}" --estimate -p 2>err |
  sed -n 's/^total.* //p')" = "$(stat -c %s stream)" ] ||
  fail "the estimate is wrong"
sqlblock send "$db" "${chain[@]}" --estimate 2>err |
  grep -q '^web@3  *web#sent '

# It is cut off in its first part, and in the last one.
for part in 3 99; do
  got=0
  head -c $(($(stat -c %s stream) * part / 100)) stream |
    sqlblock receive "$there" --resumable --json >kept 2>err || got=$?
  [ "$got" = 1 ] || fail "cut: exit code $got, $(cat err)"
  token=$(python3 -c 'import json, sys
print(json.load(sys.stdin)["kept"]["token"])' <kept)
  sqlblock send -q "$db" "${chain[@]}" --resume="$token" >stream 2>err
done
sqlblock receive -q "$there" <stream
for snapshot in web@3 web@4 mail@3 mail@4 one@a two@a; do
  same "$snapshot"
done
# Of what web@2 was, web@1 is the nearest that is here.
for clone in one two; do
  sqlblock info "$there" "$clone" | grep -q '^origin: *web@1$'
done
sqlblock check -q "$there"

# One that cannot be used is told before anything is sent.
sqlblock bookmark create -q "$db" web@4 late
sqlblock rollback -q "$db" web@1
sqlblock snapshot create -q "$db" web@5 mail@5
sqlblock send -q "$db" -R web --from='#sent' | sqlblock receive -q "$there"
same web@5
sqlblock snapshot delete -q "$db" web@4
got=0
sqlblock send "$db" -R mail web --from='web#late' >stream 2>err || got=$?
[ "$got" = 1 ] && [ ! -s stream ] &&
  grep -qF "'web@5' does not come from the bookmark 'web#late'" err ||
  fail "exit code $got: $(cat err)"
db=here.sqlite there=there.sqlite

# --- What has bookmarks, and what has none -----------------------------------

sqlblock clone -q "$db" web@8 clone
[ -z "$(sqlblock bookmark list "$db" clone --bare)" ] || fail "a clone has some"
sqlblock rename -q "$db" web www
sqlblock bookmark list "$db" www --bare -o name | grep -qxF 'www#last'
sqlblock backup -q "$db" copy.sqlite
[ "$(sqlblock bookmark list copy.sqlite --bare -o name | wc -l)" = 2 ]
sqlblock rename -q "$db" www web
sqlblock send -q "$db" web@8 | sqlblock receive -q "$there" other
[ -z "$(sqlblock bookmark list "$there" --bare)" ] || fail "a stream has some"
change 9
sqlblock snapshot create -q "$db" web@9
cp "$db" lost.sqlite
sqlblock check -q lost.sqlite --salvage=saved.sqlite >out || :
[ -z "$(sqlblock bookmark list saved.sqlite --bare)" ] || fail "salvage has some"

# Beside a server, and through it.
start_nbdkit served "$plugin" "$db" control="$tmp/control"
await_answer served
sqlblock bookmark create -q --control="$tmp/control" "$db" web@9 via
sqlblock bookmark list --control="$tmp/control" "$db" --bare -o name |
  grep -qxF 'web#via'
sqlblock send -q --control="$tmp/control" "$db" web@9 --from='#last' >stream
stop_nbdkit
sqlblock receive -q "$there" <stream
same web@9

# --- What does not come from a bookmark --------------------------------------

sqlblock bookmark create -q "$db" web@8 old
sqlblock rollback -q "$db" web@8
change 10
sqlblock snapshot create -q "$db" web@10
sqlblock bookmark list "$db" --bare -o name,usable >list
grep -qxF "$(printf 'web#via\tno')" list || fail "after a roll-back: $(cat list)"
grep -qxF "$(printf 'web#old\tyes')" list || fail "after a roll-back: $(cat list)"
fails 1 "does not come from the bookmark 'web#via'" \
  send "$db" web@10 --from='#via'
[ ! -s out ] || fail "something was sent"
sqlblock send -q "$db" web@9 --from='#old' >stream
sqlblock snapshot delete -q "$db" web@8 web@9
sqlblock compact -q "$db"
sqlblock send -q "$db" web@10 --from='#old' >stream
sqlblock rollback -q "$there" web@8
sqlblock snapshot delete -q "$there" web@9
sqlblock receive -q "$there" <stream
same web@10
sqlblock flatten -q "$db" web
change 11
sqlblock snapshot create -q "$db" web@11
fails 1 "does not come from the bookmark 'web#old', or was flattened" \
  send "$db" web@11 --from='#old'
sqlblock bookmark list "$db" --bare -o usable | sort -u | grep -qx no
sqlblock delete -q "$db" web --snapshots
[ -z "$(sqlblock bookmark list "$db" --bare)" ] || fail "some are left"
sqlblock check -q "$db"

# --- A layer that is gone -----------------------------------------------------

# The disk stands on a layer of its own while something is kept.  When that is
# gone, its id is none again, also in a backup and after a repair: else what is
# written there would be taken for what was there at the bookmark.
sqlblock create -q sent.sqlite web --size 4000000
for i in 1 2; do
  head -c 4000000 /dev/urandom >image
  nbdkit -U - "$plugin" sent.sqlite \
    --run 'nbdcopy image "nbd+unix:///web?socket=$unixsocket"'
  sqlblock snapshot create -q sent.sqlite web@$i
done
sqlblock send -q sent.sqlite web@1 | sqlblock receive -q gone.sqlite
sqlblock send -q sent.sqlite web@2 --from=1 >whole
head -c 3000000 whole >stream
fails 1 "are kept" receive -s gone.sqlite
sqlblock snapshot create -q gone.sqlite web@x
sqlblock bookmark create -q gone.sqlite web@x x
sqlblock snapshot delete -q gone.sqlite web@x
sqlblock list gone.sqlite --json -q | python3 -c '
import json, sys
print(json.load(sys.stdin)["receiving"][0]["token"])' >token
sqlblock send -q sent.sqlite --resume="$(cat token)" |
  sqlblock receive -q gone.sqlite
sqlblock bookmark list gone.sqlite --bare -o usable | grep -qx no
counters="SELECT name, seq FROM sqlite_sequence WHERE name <> 'content'
 ORDER BY name"
sqlblock backup -q gone.sqlite copied.sqlite
[ -z "$(sqlblock bookmark list copied.sqlite --bare)" ] ||
  fail "a backup has a bookmark of what it has not"
[ "$(query copied.sqlite "$counters")" = "$(query gone.sqlite "$counters")" ] ||
  fail "a backup counts anew: $(query copied.sqlite "$counters")"
sqlblock check -q copied.sqlite
query gone.sqlite "$counters" >counted
query gone.sqlite "UPDATE sqlite_sequence SET seq =
 (SELECT max (id) FROM layer) WHERE name = 'layer'"
"$top_builddir/tests/seal" gone.sqlite
fails 6 "1 problem" check gone.sqlite
sqlblock check -q gone.sqlite --repair >out 2>&1 || :
query gone.sqlite "$counters" | cmp - counted || fail "a repair counts anew"
sqlblock check -q gone.sqlite
