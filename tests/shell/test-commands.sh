#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# All commands of sqlblock keep to the rules of the manual: commands.py takes
# them from "sqlblock --help" and walks each through the same arguments.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdinfo python3

PATH=$top_builddir/tool:$PATH
python3 -B "$srcdir/lib/commands.py" "$tmp" "$plugin" ||
  fail "a command does not keep to the rules"
