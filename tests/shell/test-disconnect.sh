#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Clients that vanish in mid-request change nothing for others
# (disconnect.c).
#
# nbdkit 1.32.4 and 1.32.5 have a fault of their own: a client that hangs
# up while several of its requests are being answered can end the server
# ("raw_send_socket: Assertion `sock >= 0' failed", mended in 1.34).  It
# needs more than one thread for a connection, so with a server older than
# 1.34 this test gives each connection one thread, and makes more
# connections instead.
#
# Arguments go to disconnect, such as --kills 5000.  SOAK=yes in the
# environment makes it 3000 clients.  Where TMPDIR is set, the database of
# a failed run is kept there.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit

disconnect=$top_builddir/tests/disconnect
[ -x "$disconnect" ] || skip "disconnect needs libnbd to be built"
export TMPDIR="${TMPDIR:-$tmp}"

if nbdkit_is 1.34; then
  load=(--connections 4 --victims 3)
else
  echo "$(nbdkit --version): one thread for each connection"
  load=(--threads 1 --connections 8 --victims 8)
fi

kills=150 seconds=300
if [ "${SOAK-}" = yes ]; then
  kills=3000 seconds=3600
fi

timeout --foreground "$seconds" "$disconnect" --plugin "$plugin" \
  "${load[@]}" --kills "$kills" "$@"
