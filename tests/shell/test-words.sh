#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Short names of commands do what the long ones do; for a word that nobody knows
# the nearest one is named, if there is one, and nothing is done.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"

PATH=$top_builddir/tool:$PATH
cd "$tmp"
sqlblock create -q d.sqlite web --size=1M
sqlblock create -q d.sqlite mail --size=1M
sqlblock snapshot create -q d.sqlite web@a
sqlblock snapshot create -q d.sqlite web@b

# equal "WORDS" "WORDS": both print the same.
equal ()
{
  sqlblock $1 >one 2>&1 || :
  sqlblock $2 >two 2>&1 || :
  cmp one two >&2 && [ -s one ] || fail "$1 is not $2"
}
equal "ls d.sqlite" "list d.sqlite"
equal "ls d.sqlite --all --json" "list d.sqlite --all --json"
equal "--json ls d.sqlite" "list d.sqlite --json"
equal "snap ls d.sqlite web" "snapshot list d.sqlite web"
equal "snapshot ls d.sqlite web" "snapshot list d.sqlite web"
equal "help ls" "help list"
equal "help snap" "help snapshot"
equal "help snap rm" "help snapshot delete"
equal "snap --help" "snapshot --help"
equal "rm --help" "delete --help"
equal "rm d.sqlite nobody" "delete d.sqlite nobody"
equal "snap" "snapshot"

sqlblock snap create -q d.sqlite web@c
sqlblock snap rm -q d.sqlite web@a
[ "$(sqlblock list d.sqlite --names --all | tr '\n' ' ')" = \
  "web web@b web@c mail " ] || fail "snap create, snap rm"
sqlblock rm -q d.sqlite mail
[ "$(sqlblock list d.sqlite --names)" = web ] || fail "rm"

# means WORD... "there is no ...": the whole first line.
means ()
{
  local words=("${@:1:$#-1}") code=0
  sqlblock "${words[@]}" >out 2>err </dev/null || code=$?
  [ "$code" = 2 ] && [ ! -s out ] || fail "exit code $code: ${words[*]}"
  [ "$(head -1 err)" = "sqlblock: ${*: -1}" ] ||
    fail "${words[*]}: $(head -1 err)"
}
means lits "there is no command 'lits'; did you mean 'list'?"
means craete d.sqlite x "there is no command 'craete'; did you mean 'create'?"
means impor d.sqlite x "there is no command 'impor'; did you mean 'import'?"
means roll d.sqlite x "there is no command 'roll'; did you mean 'rollback'?"
means destroy d.sqlite web \
  "there is no command 'destroy'; did you mean 'delete'?"
means recv d.sqlite "there is no command 'recv'; did you mean 'receive'?"
means snapsht create d.sqlite web@x \
  "there is no command 'snapsht'; did you mean 'snapshot'?"
means snap craete d.sqlite web@x \
  "there is no command 'snapshot craete'; did you mean 'snapshot create'?"
means xyzzy "there is no command 'xyzzy'"
means rm-rf "there is no command 'rm-rf'"
means "" "there is no command ''"
means snapshot xyzzy "there is no command 'snapshot xyzzy'"
means "$(printf 'x%.0s' {1..5000})" \
  "there is no command '$(printf 'x%.0s' {1..5000})'"
means list d.sqlite --jsno \
  "there is no option '--jsno', or it could be several; did you mean '--json'?"
means diff d.sqlite web@b --sumary=x \
  "there is no option '--sumary=x', or it could be several; did you mean \
'--summary'?"
means list d.sqlite --quux "there is no option '--quux', or it could be several"
[ "$(sqlblock list d.sqlite --names --all | tr '\n' ' ')" = \
  "web web@b web@c " ] || fail "a word that nobody knows has done something"
