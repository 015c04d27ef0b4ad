#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# An increment that is cut off, damaged, interrupted or killed leaves the disk
# as it was, its origin too; and a good one leaves the origin as well. Nothing
# of a failed reception stays, and layers do not pile up.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3 cmp mkfifo
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
use_memory
cd "$tmp"
db=here.sqlite
there=there.sqlite
export fails_input=stream
mkfifo fifo

# change DISK SEED
change ()
{
  nbdkit -U - "$plugin" "$db" --run "nbdsh -u 'nbd+unix:///$1?socket='\$unixsocket -c '
import random
random.seed($2)
for i in range(100):
    h.pwrite(random.randbytes(4096), 4096 * random.randrange(1000))'"
}

# The one disk has no origin, the other one has.
sqlblock create -q "$db" web --size=4M
change web 1
sqlblock snapshot create -q "$db" web@1
sqlblock clone -q "$db" web@1 copy
sqlblock snapshot create -q "$db" copy@1
sqlblock backup -q "$db" "$there"
for disk in web copy; do
  change "$disk" 2
  sqlblock snapshot create -q "$db" "$disk@2"
  sqlblock send -q "$db" "$disk@2" --from 1 >"$disk.2"
  change "$disk" 3
  sqlblock snapshot create -q "$db" "$disk@3"
  sqlblock send -q "$db" "$disk@3" --from 2 >"$disk.3"
done

# state: all that can be seen of the database.
state ()
{
  local name
  sqlblock list "$there" --all --json | grep -v '"created"'
  query "$there" "SELECT count (*) FROM layer"
  query "$there" "SELECT count (*) FROM block"
  for name in web copy; do
    sqlblock export "$there" "$name" - | cksum
  done
}
origins ()
{
  sqlblock list "$there" --json | python3 -c '
import json, sys
print([(d["name"], d["origin"]) for d in json.load(sys.stdin)["disks"]])'
}

# same WHAT: nothing has changed since state was saved in before.
same ()
{
  state >after
  diff before after >diff.log || {
    cat diff.log >&2
    fail "$1 has changed the database"
  }
  sqlblock check -q "$there" >out 2>&1 || {
    cat out >&2
    fail "$1: a check finds something"
  }
}

# begin DISK: all but the end of the stream of DISK comes in, process $receiver.
begin ()
{
  sqlblock receive -q "$there" "$1" <fifo 2>err &
  receiver=$!
  started_pids+=("$receiver")
  exec 9>fifo
  head -c $(($(stat -c %s "$1.$next") - 10)) "$1.$next" >&9 ||
    fail "it did not begin: $(cat err)"
  wait_for is_receiving "$there"
}
kill_it ()
{
  kill -9 "$receiver"
  wait "$receiver" 2>/dev/null || :
  exec 9>&-
}

wanted=$(origins)
[ "$wanted" = "[('web', None), ('copy', 'web@1')]" ] || fail "$wanted"
for next in 2 3; do
  for disk in web copy; do
    state >before
    size=$(stat -c %s "$disk.$next")
    for cut in 300 5000 $((size / 2)) $((size - 1)); do
      head -c "$cut" "$disk.$next" >stream
      fails 1 "" receive "$there" "$disk"
      same "a stream of $disk that is cut at $cut"
    done
    # Damaged in its middle.
    cp "$disk.$next" stream
    printf 'XXXX' | dd of=stream bs=1 seek=$((size / 2)) conv=notrunc status=none
    fails 1 "" receive "$there" "$disk"
    same "a damaged stream of $disk"
    # Interrupted, and while it comes in.
    begin "$disk"
    [ "$(origins)" = "$wanted" ] || fail "while it comes in: $(origins)"
    kill "$receiver"
    wait "$receiver" && fail "it has ended well"
    exec 9>&-
    same "an interrupted reception of $disk"
    # Killed; then compact, or a repair, removes what is left.
    for remedy in "compact -q" "check -q --repair"; do
      begin "$disk"
      kill_it
      [ "$(origins)" = "$wanted" ] || fail "after a kill: $(origins)"
      sqlblock $remedy "$there" >out || fail "$remedy: $(cat out)"
      same "a killed reception of $disk, and $remedy"
    done
    # Killed, and another name for the disk.
    begin "$disk"
    kill_it
    sqlblock rename -q "$there" "$disk" other
    [ "$(origins | sed "s/'other/'$disk/g")" = "$wanted" ] ||
      fail "after a rename: $(origins)"
    sqlblock compact -q "$there"
    sqlblock rename -q "$there" other "$disk"
    same "a killed reception of $disk with another name"
    # Killed twice, and then received.
    begin "$disk"
    kill_it
    begin "$disk"
    kill_it
    sqlblock receive -q "$there" "$disk" <"$disk.$next"
    [ "$(origins)" = "$wanted" ] || fail "after a good one: $(origins)"
    sqlblock export "$db" "$disk@$next" - >one
    sqlblock export "$there" "$disk" - | cmp - one
    ! is_receiving "$there" || fail "something stays"
  done
done
[ "$(query "$there" "SELECT count (*) FROM layer")" = 2 ] ||
  fail "layers pile up"

# What was written after a kill is not lost.
sqlblock export "$there" web web.raw
change web 4
sqlblock snapshot create -q "$db" web@4
sqlblock send -q "$db" web@4 --from 3 >web.4
next=4
begin web
kill_it
nbdkit -U - "$plugin" "$there" --run \
  "nbdsh -u 'nbd+unix:///web?socket='\$unixsocket -c 'h.pwrite(b\"x\" * 4096, 0)'"
sqlblock compact -q "$there"
printf 'x%.0s' $(seq 4096) | dd of=web.raw conv=notrunc status=none
sqlblock export "$there" web - | cmp - web.raw || fail "a write is lost"
sqlblock check -q "$there"
cp web.4 stream
fails 1 "written since" receive "$there"
sqlblock receive -q --rollback "$there" <web.4
sqlblock export "$db" web@4 - >one
sqlblock export "$there" web - | cmp - one

# A quota counts the same before and after.
sqlblock set -q "$there" copy quota=16M
change copy 4
sqlblock snapshot create -q "$db" copy@4
sqlblock send -q "$db" copy@4 --from 3 >copy.4
used ()
{
  sqlblock info "$there" copy --json | grep '"quota_used"'
}
before=$(used)
head -c 300000 copy.4 >stream
fails 1 "" receive "$there"
[ "$(used)" = "$before" ] || fail "the quota: $before, now $(used)"
sqlblock check -q "$there"
exit 0
