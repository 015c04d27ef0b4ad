# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A Ceph cluster of a test's own that keeps everything three times, for soak
# tests, which source this after functions.sh. It has one monitor, one manager
# and three OSDs with BlueStore on files of 8 GiB, with holes, in $cluster, and
# cephx. All listen on $cluster_address, by default the loopback, on ports that
# are free. It takes half a minute to start, 1 GiB of memory, and up to 1 GiB an
# OSD under load.
#
#   start_three_osds POOL...  CEPH_CONF and the pools are there afterwards, and
#                             all their placement groups active and clean
#   kill_osd N                a crash of the OSD N (0, 1 or 2)
#   start_osd N               it comes back
#   restart_monitor           killed, and started again
#   fill_pool POOL            it is full: clients that write to it wait
#   empty_pool POOL           there is room again
#   await_clean               until everything is there three times
#
# The daemons are children of the test, and end with it.

. "$srcdir/lib/cluster.sh"
need ceph-mgr
: "${cluster_address:=127.0.0.1}"

# kill_daemon PID
kill_daemon ()
{
  kill -9 "$1"
  wait "$1" 2>/dev/null || :
}

# cluster_failed TEXT: with what the daemons have said last.
cluster_failed ()
{
  tail -n 5 "$cluster"/log/* | cut -c -200 >&2
  fail "$1"
}

# until_ceph SECONDS COMMAND...: until it succeeds.
until_ceph ()
{
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || cluster_failed "this did not happen: $*"
    sleep 0.3
  done
}

# Clients of all ages: those of a kernel speak the first version by default.
monitor_addresses ()
{
  echo "v2:$cluster_address:$1/0,v1:$cluster_address:$(($1 + 1))/0"
}

# write_cluster_conf PORT
#
# mon_data_avail_*: the disk of a developer's machine may be nearly full.
write_cluster_conf ()
{
  cat >"$CEPH_CONF" <<END
[global]
fsid = $fsid
mon_host = [$(monitor_addresses "$1")]
mon_initial_members = a
public_network = $cluster_address/32
cluster_network = $cluster_address/32
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
keyring = $cluster/keyring
run_dir = $cluster/run
admin_socket = $cluster/run/\$name.\$pid.asok
pid_file = $cluster/run/\$name.pid
log_file = $cluster/log/\$name.log
crash_dir = $cluster/log
osd_pool_default_size = 3
osd_pool_default_min_size = 2
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_delete = true
mon_data_avail_warn = 1
mon_data_avail_crit = 1
mon_osd_min_down_reporters = 1
mgr_initial_modules =
osd_objectstore = bluestore
osd_memory_target = 939524096
bluestore_cache_autotune = false
bluestore_cache_size = 67108864
bluestore_block_size = 8589934592
[mon.a]
mon_data = $cluster/mon
[mgr.x]
mgr_data = $cluster/mgr
[osd]
osd_data = $cluster/osd\$id
[client]
log_file =
END
}

# monitor_answers: does it, within 15 seconds?
monitor_answers ()
{
  timeout 20 ceph --connect-timeout 15 osd dump >/dev/null 2>&1
}

restart_monitor ()
{
  kill_daemon "$monitor"
  daemon ceph-mon -f -i a
  monitor=$!
  until_ceph 60 monitor_answers
}

# make_osd N: its key, and its file.
make_osd ()
{
  local id
  id=$(cat /proc/sys/kernel/random/uuid)
  mkdir "$cluster/osd$1"
  ceph osd new "$id" "$1" >/dev/null
  ceph auth get-or-create "osd.$1" mon 'allow profile osd' osd 'allow *' \
    mgr 'allow profile osd' >>"$cluster/keyring"
  ceph-osd -i "$1" --mkfs --osd-uuid "$id" >>"$cluster/log/ceph-osd.out" 2>&1
}

start_osd ()
{
  daemon ceph-osd -f -i "$1"
  osds[$1]=$!
}

kill_osd ()
{
  kill_daemon "${osds[$1]}"
}

# all_clean: is everything there as often as it should be?
all_clean ()
{
  local state
  state=$(timeout 20 ceph pg stat 2>/dev/null) &&
    [[ $state =~ ^([0-9]+)\ pgs:\ ([0-9]+)\ active\+clean\; ]] &&
    [ "${BASH_REMATCH[1]}" = "${BASH_REMATCH[2]}" ] &&
    [ "${BASH_REMATCH[1]}" -ge "$placement_groups" ]
}

await_clean ()
{
  until_ceph 300 all_clean
}

# pool_is_full POOL YES|NO
pool_is_full ()
{
  local full=no
  ! timeout 20 ceph osd pool ls detail 2>/dev/null |
    grep "'$1'" | grep -q "flags [^ ]*full" || full=yes
  [ "$full" = "$2" ]
}

# The manager counts what a pool has, and tells the monitor every few seconds.
fill_pool ()
{
  ceph osd pool set-quota "$1" max_bytes 1 2>/dev/null
  until_ceph 120 pool_is_full "$1" yes
}

empty_pool ()
{
  ceph osd pool set-quota "$1" max_bytes 0 2>/dev/null
  until_ceph 120 pool_is_full "$1" no
}

start_three_osds ()
{
  local fsid osd pool
  fsid=$(cat /proc/sys/kernel/random/uuid)
  osds=()
  cluster=$tmp/cluster
  export CEPH_CONF=$cluster/ceph.conf
  mkdir "$cluster" "$cluster"/{mgr,run,log}
  make_keyring
  start_monitor
  ceph auth get-or-create mgr.x mon 'allow profile mgr' osd 'allow *' \
    >>"$cluster/keyring"
  daemon ceph-mgr -f -i x
  for osd in 0 1 2; do
    make_osd "$osd"
    start_osd "$osd"
  done
  for pool; do
    ceph osd pool create "$pool" 8 8 2>/dev/null
  done
  placement_groups=$((8 * $#))
  await_clean
}
