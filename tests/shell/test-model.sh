#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The randomized check against a model (model.c), for three block sizes.
#
# Arguments go to model-check, such as --seed N to repeat a failed run.
# SOAK=yes in the environment makes each run 200,000 operations long.
# Where TMPDIR is set, the database of a failed run is kept there.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit

model_check=$top_builddir/tests/model-check
[ -x "$model_check" ] || skip "model-check needs libnbd to be built"
export TMPDIR="${TMPDIR:-$tmp}"

operations=6000 kills=6 seconds=300
if [ "${SOAK-}" = yes ]; then
  operations=200000 kills=100 seconds=7200
fi

for block_size in 512 4096 65536; do
  timeout --foreground "$seconds" "$model_check" --plugin "$plugin" \
    --block-size "$block_size" --operations "$operations" \
    --kills "$kills" "$@" ||
    fail "block size $block_size"
done

if can_encrypt; then
  head -c 32 /dev/urandom >"$tmp/key"
  timeout --foreground "$seconds" "$model_check" --plugin "$plugin" \
    --key-file "$tmp/key" --operations "$operations" --kills "$kills" "$@" ||
    fail "an encrypted disk"
fi
