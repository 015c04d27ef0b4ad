# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A small Ceph cluster of a test's own, for shell tests that source this after
# functions.sh: one monitor and one OSD with its data in memory, on the
# loopback, with ports and files that no other has. About 4 seconds and 300 MiB.
#
#   start_cluster   $CEPH_CONF names it, and the pool "sql" is there
#
# It needs the packages ceph-mon and ceph-osd, which bring the commands "ceph"
# and "rados"; no manager. Its files are in $cluster. The daemons are children
# of the test, $monitor and $osd, and end with it.

need ceph-mon ceph-osd ceph rados

# monitor_addresses PORT: where the monitor listens.
monitor_addresses ()
{
  echo "v2:127.0.0.1:$1/0"
}

# write_cluster_conf PORT
write_cluster_conf ()
{
  cat >"$CEPH_CONF" <<END
[global]
fsid = $fsid
mon_host = [$(monitor_addresses "$1")]
mon_initial_members = a
public_network = 127.0.0.0/8
keyring = $cluster/keyring
run_dir = $cluster/run
admin_socket = $cluster/run/\$name.\$pid.asok
pid_file = $cluster/run/\$name.pid
log_file = $cluster/log/\$name.log
crash_dir = $cluster/log
ms_bind_msgr1 = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data_avail_warn = 1
mon_data_avail_crit = 1
mon_osd_min_down_reporters = 1
osd_objectstore = memstore
memstore_device_bytes = 1073741824
[mon.a]
mon_data = $cluster/mon
[osd.0]
osd_data = $cluster/osd
[client]
log_file =
END
}

# make_keyring: of the monitor and of the first user.
make_keyring ()
{
  local CEPH_CONF=/dev/null
  ceph-authtool --create-keyring "$cluster/keyring" \
    --gen-key -n mon. --cap mon 'allow *' >/dev/null
  ceph-authtool "$cluster/keyring" --gen-key -n client.admin \
    --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >/dev/null
}

# daemon NAME ARGUMENT...: run it until the test ends. In "/", since the OSDs of
# Debian 13 look there for lib/.../rados-classes, by a relative path.
daemon ()
{
  local name=$1
  shift
  (cd / && exec "$name" "$@") >>"$cluster/log/$name.out" 2>&1 &
  started_pids+=($!)
}

# start_monitor: on a port that is free.
start_monitor ()
{
  local port _
  for _ in {1..20}; do
    # Below the ports that Linux gives to clients.
    port=$((20000 + RANDOM % 12000))
    rm -rf "$cluster/mon"
    mkdir "$cluster/mon"
    write_cluster_conf "$port"
    monmaptool --create --clobber --fsid "$fsid" \
      --addv a "[$(monitor_addresses "$port")]" "$cluster/monmap" >/dev/null
    ceph-mon -i a --mkfs --monmap "$cluster/monmap" \
      --keyring "$cluster/keyring" >>"$cluster/log/ceph-mon.out" 2>&1
    daemon ceph-mon -f -i a
    monitor=$!
    ceph --connect-timeout 15 osd dump >/dev/null 2>&1 && return
    kill -0 "$monitor" 2>/dev/null && break
  done
  cat "$cluster"/log/* >&2
  fail "the monitor does not answer"
}

start_cluster ()
{
  local fsid id
  fsid=$(cat /proc/sys/kernel/random/uuid)
  id=$(cat /proc/sys/kernel/random/uuid)
  cluster=$tmp/cluster
  export CEPH_CONF=$cluster/ceph.conf
  mkdir "$cluster" "$cluster"/{osd,run,log}
  make_keyring
  start_monitor
  ceph osd new "$id" 0 >/dev/null
  ceph auth get-or-create osd.0 mon 'allow profile osd' osd 'allow *' \
    >>"$cluster/keyring"
  ceph-osd -i 0 --mkfs --osd-uuid "$id" >>"$cluster/log/ceph-osd.out" 2>&1
  daemon ceph-osd -f -i 0
  osd=$!
  ceph osd pool create sql 1 1 >/dev/null 2>&1
  timeout 60 rados -p sql ls || {
    tail -n 50 "$cluster"/log/* >&2
    fail "the cluster has not begun"
  }
}
