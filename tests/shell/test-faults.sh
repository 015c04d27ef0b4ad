#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Faults (faults.c): the n-th call of each method of the VFS, and the n-th
# allocation, fails once in a session of its own.
#
# Arguments go to faults, such as --fault xSync --number 3.  SOAK=yes in the
# environment tries every n.  Where TMPDIR is set, the files of failed
# sessions are kept there.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"

faults=$top_builddir/tests/faults
[ -x "$faults" ] || skip "faults needs cmocka to be built"

use_memory
export TMPDIR="${TMPDIR:-$tmp}"

samples=8 seconds=900
if [ "${SOAK-}" = yes ]; then
  samples=0 seconds=14400
fi

timeout --foreground "$seconds" "$faults" --samples $samples "$@"
