#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Rounds of kill -9 under write load without a flush (kill.c).
#
# Arguments go to kill-rounds, such as --rounds 1000.  SOAK=yes in the
# environment makes it 100 rounds for each block size.  Where TMPDIR is set,
# the database of a failed run is kept there.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit

kill_rounds=$top_builddir/tests/kill-rounds
[ -x "$kill_rounds" ] || skip "kill-rounds needs libnbd to be built"
export TMPDIR="${TMPDIR:-$tmp}"

rounds=8 seconds=300
if [ "${SOAK-}" = yes ]; then
  rounds=100 seconds=7200
fi

# With blocks of 4096 bytes a write is of whole blocks; with larger ones
# several writes in flight share a block.
for block_size in 4096 65536; do
  timeout --foreground "$seconds" "$kill_rounds" --plugin "$plugin" \
    --block-size "$block_size" --rounds "$rounds" "$@" ||
    fail "block size $block_size"
done

if can_encrypt; then
  head -c 32 /dev/urandom >"$tmp/key"
  timeout --foreground "$seconds" "$kill_rounds" --plugin "$plugin" \
    --key-file "$tmp/key" --rounds "$rounds" "$@" ||
    fail "an encrypted disk"
fi
