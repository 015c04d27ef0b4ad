#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Several servers of one database on a Ceph cluster that are started at the same
# instant: one serves, the others are told who it is. Where they stand by
# (takeover=wait) one serves, too, and the others wait, and take its place one
# after the other. The argument is the number of rounds.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh timeout
use_memory
. "$srcdir/lib/cluster.sh"
start_cluster
cd "$tmp"
rounds=${1-$([ -n "${SOAK-}" ] && echo 10 || echo 2)}
servers="1 2 3 4"
db=rados:sql/disk
declare -A process

# start PARAMETER...: all of them.
start ()
{
  local name
  rm -f s? ?.log
  for name in $servers; do
    nbdkit -f -U "$tmp/s$name" "$plugin" $db size=1M "$@" >"$name.log" 2>&1 &
    process[$name]=$!
    started_pids+=($!)
  done
}

# runs NAME
runs ()
{
  kill -0 "${process[$1]}" 2>/dev/null
}

# serves NAME: it answers.
serves ()
{
  [ -e "s$1" ] && timeout 2 nbdsh -c "h.set_opt_mode (True)" \
    -c "h.connect_unix ('$tmp/s$1')" -c "h.opt_abort ()" 2>/dev/null
}

# find_server: one of them serves, $server.
find_server ()
{
  for server in $servers; do
    ! serves "$server" || return 0
  done
  return 1
}

# only_one_runs
only_one_runs ()
{
  local name count=0
  for name in $servers; do
    ! runs "$name" || count=$((count + 1))
  done
  [ "$count" = 1 ]
}

logs ()
{
  tail -n 3 ?.log
}

# stop NAME
stop ()
{
  stop_nbdkit "${process[$1]}"
  rm -f "s$1"
}

for ((round = 1; round <= rounds; round++)); do
  start
  wait_for only_one_runs
  wait_for find_server
  holder=$("$top_builddir/tests/cluster" find $db)
  holder=${holder##* }
  for name in $servers; do
    [ "$name" = "$server" ] ||
      grep -qF "$db is open elsewhere, by $holder " "$name.log" ||
      fail "$name was not told that $holder serves: $(logs)"
  done
  stop "$server"

  # Each that serves is the only one that has a socket.
  start takeover=wait
  left=$servers
  while [ -n "$left" ]; do
    wait_for find_server
    left=${left/$server/}
    left=${left# }
    sleep 1
    for name in $left; do
      runs "$name" || fail "$name does not wait: $(logs)"
      [ ! -e "s$name" ] || fail "$name listens beside $server: $(logs)"
    done
    stop "$server"
    process[$server]=
    left=$(xargs <<<"$left")
  done
done
