#!/bin/bash
# Faults (faults.c): the n-th call of each method of the VFS, and the n-th
# allocation, fails once in a session of its own.
#
# Arguments go to faults, such as --fault xSync --number 3.  SOAK=yes in the
# environment tries 200 calls of each, which is all of most.

. "${srcdir:-$(dirname "$0")}/functions.sh"

faults=$top_builddir/tests/faults
[ -x "$faults" ] || skip "faults needs cmocka to be built"

samples=4 seconds=300
if [ "${SOAK-}" = yes ]; then
  samples=200 seconds=7200
fi

timeout --foreground "$seconds" "$faults" --samples $samples "$@"
