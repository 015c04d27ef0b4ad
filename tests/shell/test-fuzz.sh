#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Databases with wrong bytes, rows and index entries (fuzz.h): nothing may
# crash or hang, and nothing may be read that was never written there.
#
# SOAK=yes in the environment makes it 10 minutes long, or FUZZ_SECONDS.
# Arguments are files with cases to repeat; a case that fails is kept in
# the directory of the tests. "make check-fuzz" does the same with
# libFuzzer, for as long.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"

fuzz_database=$top_builddir/tests/fuzz-database
[ -x "$fuzz_database" ] || skip "fuzz-database needs cmocka to be built"

seconds=15
if [ "${SOAK-}" = yes ]; then
  seconds=${FUZZ_SECONDS:-600}
fi

use_memory
export TMPDIR=$tmp
timeout --foreground $((seconds + 120)) "$fuzz_database" -t "$seconds" "$@"
