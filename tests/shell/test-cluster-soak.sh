#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A database on a cluster that keeps everything three times, while the server is
# killed and the cluster has troubles of its own, for a long time. Each round:
#
#   server N      serves four disks to clients that write ─── kill -9
#   server N + 1  stands by (takeover=wait) ─────────────────── serves
#
# In every other round the lock is broken (sqlblock break-lock), in the others
# the lock ends by itself. Before the kill, in turns: nothing; an OSD is killed,
# and comes back after the takeover; the monitor is restarted; the pool is full,
# and the clients wait; it is full for so long that the server loses its lock
# and ends without being killed. After each round everything that was
# acknowledged is compared, and the database checked.
#
# All the time the model of one disk (model.c) runs on another database, with
# kills of its own about every 20 seconds.
#
# It takes an hour and a half, 3 GiB of memory and the packages of a Ceph
# cluster, so it runs in the soak. The argument is the number of rounds: 125 have
# 100 kills; 10 take 6 minutes, and have everything once. SEED in the environment
# repeats what is drawn.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3 timeout
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"
model_check=$top_builddir/tests/model-check
[ -x "$model_check" ] || skip "model-check needs libnbd to be built"
. "$srcdir/lib/three-osds.sh"

rounds=${1-125}
seed=${SEED-$RANDOM}
echo "SEED=$seed"
RANDOM=$seed
cd "$tmp"
PATH=$top_builddir/tool:$PATH
db=rados:sql/soak
disks=(a b c d)
process=() writers=()
kills=0 broken=0 waited=0

# Servers. Each has a number, and sockets of its own.

# stand_by: the next server, which waits while another one serves.
stand_by ()
{
  standing=$((serving + 1))
  nbdkit -f -U "$tmp/s$standing" -P "pid$standing" "$plugin" "$db" \
    takeover=wait control="$tmp/c$standing" >"log$standing" 2>&1 &
  process[standing]=$!
  started_pids+=($!)
}

# serves NUMBER: it has got the database.
serves ()
{
  kill -0 "${process[$1]}" 2>/dev/null ||
    fail "server $1 has ended: $(cat "log$1")"
  [ -s "pid$1" ]
}

# ends NUMBER
ends ()
{
  ! kill -0 "${process[$1]}" 2>/dev/null
}

waits ()
{
  grep -qs "has it open: waiting" "log$1"
}

# go_on: the one that stands by serves, and another one stands by.
go_on ()
{
  until_ceph 180 serves "$standing"
  serving=$standing
  await_answer "s$serving"
  stand_by
  until_ceph 60 waits "$standing"
}

# Clients. Each has a disk, and a journal of what it was told.

start_writers ()
{
  local disk
  writers=()
  for disk in "${disks[@]}"; do
    python3 "$srcdir/lib/journal.py" write "$(uri "s$serving" "$disk")" \
      "journal-$disk" "$RANDOM" &
    writers+=($!)
    started_pids+=($!)
  done
}

# acknowledged: how many writes, by all journals.
acknowledged ()
{
  cat journal-* 2>/dev/null | grep -c ^a || :
}

has_acknowledged ()
{
  [ "$(acknowledged)" -ge "$1" ]
}

# await_writes COUNT: so many more.
await_writes ()
{
  until_ceph 120 has_acknowledged $(($(acknowledged) + $1))
}

# none_failed: no client was told of an error.
none_failed ()
{
  ! tail -qn 1 journal-* | grep ^e || fail "a write has failed"
}

# Rounds.

# trouble_begins NAME: then clients wait, and go on, and none is told of an
# error. Afterwards the server is killed, or has ended.
trouble_begins ()
{
  local before
  case $1 in
    osd)
      osd=$((RANDOM % 3))
      kill_osd "$osd"
      ;;
    monitor) restart_monitor ;;
    full*)
      fill_pool sql
      before=$(acknowledged)
      sleep 10
      [ "$(acknowledged)" -le $((before + ${#disks[@]})) ] ||
        fail "a pool that is full takes more"
      none_failed
      if [ "$1" = "full for long" ]; then
        until_ceph 60 ends "$serving"
        return
      fi
      empty_pool sql
      ;;
  esac
  await_writes 40
  none_failed
}

trouble_ends ()
{
  case $1 in
    osd) start_osd "$osd" ;;
    "full for long") empty_pool sql ;;
  esac
}

# kill_server wait|break
kill_server ()
{
  kill_nbdkit "${process[$serving]}"
  kills=$((kills + 1))
  if [ "$1" = break ]; then
    sqlblock break-lock -qf "$db"
    broken=$((broken + 1))
  else
    waited=$((waited + 1))
  fi
}

# compare: what was acknowledged is there, and nothing is wrong with it.
compare ()
{
  local disk
  for disk in "${disks[@]}"; do
    timeout 300 python3 "$srcdir/lib/journal.py" check \
      "$(uri "s$serving" "$disk")" "journal-$disk" >compared ||
      fail "the disk $disk: $(cat "log$serving")"
    grep -q "gone: 0$" compared || fail "the disk $disk: $(cat compared)"
  done
  timeout 300 sqlblock --control="$tmp/c$serving" check "$db" >out 2>&1 ||
    fail "it is damaged: $(cat out)"
}

# round NUMBER
round ()
{
  local how began
  local troubles=(none osd monitor full "full for long")
  local trouble=${troubles[($1 - 1) / 2 % 5]}
  how=$([ $(($1 % 2)) = 1 ] && echo break || echo wait)
  start_writers
  await_writes $((200 + RANDOM % 400))
  trouble_begins "$trouble"
  if [ "$trouble" = "full for long" ]; then
    how="it has ended"
    waited=$((waited + 1))
    trouble_ends "$trouble"
    began=$SECONDS
  else
    began=$SECONDS
    kill_server "$how"
  fi
  go_on
  wait "${writers[@]}" || :
  compare
  echo "$1: $trouble, $how: $((SECONDS - began)) s until all is compared;" \
    "$(acknowledged) writes acknowledged"
  [ "$trouble" != osd ] || trouble_ends osd
  kill -0 "$model" || fail "the model: $(cat "$tmp/model.log")"
  await_clean
}

start_three_osds sql model
echo "the cluster is there: $SECONDS s"
for disk in "${disks[@]}"; do
  sqlblock create "$db" "$disk" --size=16M
done
cat >killed <<'END'
until sqlblock break-lock -qf rados:model/model; do sleep 1; done
END
start_model --database rados:model/model --operations 100000000 --kills 20000 \
  --killed "bash $tmp/killed"
serving=0
stand_by
go_on
for ((number = 1; number <= rounds; number++)); do
  round "$number"
done
kill_nbdkit "${process[$standing]}"
stop_nbdkit "${process[$serving]}"
end_model
sqlblock check "$db"
sqlblock check rados:model/model
model_kills=$(sed -n 's/^ *\([0-9]*\) kills: .*/\1/p' model.log)
echo "$rounds rounds: $kills kills, $((broken + waited)) takeovers ($broken" \
  "locks broken, $waited ended), $(acknowledged) writes acknowledged, lost 0;" \
  "the model: $model_kills kills, differences 0"
