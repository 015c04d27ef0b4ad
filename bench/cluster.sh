#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# This plugin with a database on a Ceph cluster (rados) beside an image of RBD
# on the same one, in the same pool (rbd: qemu-nbd with cache=none), through NBD
# both, with the same client. The cluster is of its own: three OSDs on the
# loopback, with everything three times. Arguments go to bench.py.

. "$(dirname "$(realpath "$0")")/../tests/lib/functions.sh"
. "$srcdir/lib/three-osds.sh"
need rbd qemu-nbd fio
qemu-img info rbd:none/none 2>&1 | grep -q "Unknown protocol" &&
  skip "QEMU has no rbd (the package qemu-block-extra)"

start_three_osds bench
ceph osd pool application enable bench rbd 2>/dev/null
rbd pool init bench
python3 -B "$srcdir/../bench/bench.py" --build="$top_builddir" \
  --servers=rados,rbd --peers=rbd --sizes=512M --seconds=5 --rounds=3 \
  --jobs='randread-4k-q1,randread-4k-q32,read-1m,randwrite-4k-q1,randwrite-4k-q32,fill-1m' \
  "$@"
