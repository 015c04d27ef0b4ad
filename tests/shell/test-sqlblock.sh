#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The command sqlblock: every command, refusal and exit code, on a file by
# itself and beside a server that has its disks open. What disks contain is
# read back through nbdkit; JSON is read by python3.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh nbdcopy python3 cmp

PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=disks.sqlite

# run CODE ARGUMENT...: sqlblock must end with this exit code. What it
# prints is in the files out and err; only data may be in out.
run ()
{
  local code=$1 got=0
  shift
  sqlblock "$@" >out 2>err </dev/null || got=$?
  if [ "$got" != "$code" ]; then
    cat out err >&2
    fail "exit code $got and not $code: sqlblock $*"
  fi
  if [ "$code" != 0 ] && ! grep -q '^sqlblock: .' err; then
    fail "no message: sqlblock $*"
  fi
}

# says FILE TEXT: it is in the file.
says ()
{
  grep -qF -- "$2" "$1" || {
    cat "$1" >&2
    fail "«$2» is not in $1"
  }
}

# is_silent: the last command printed nothing to stdout.
is_silent ()
{
  [ ! -s out ] || fail "data where none was wanted: $(cat out)"
}

# json EXPRESSION: what the last command printed is JSON, j, for which this
# is true.
json ()
{
  python3 -c '
import json, re, sys
with open("out") as file:
    j = json.load(file)
assert eval(sys.argv[1]), json.dumps(j, indent=2)' "$1" || fail "json: $1"
}

# server CODE EXPORT: run Python with h connected to the export.
client ()
{
  nbdkit -U - "$plugin" "$db" --run \
    "nbdsh -u \"nbd+unix:///$2?socket=\$unixsocket\" -c '$1'"
}

# copy EXPORT FILE: copy a disk or a snapshot out.
copy ()
{
  nbdkit -r -U - "$plugin" "$db" --run \
    "nbdcopy \"nbd+unix:///$1?socket=\$unixsocket\" '$2'"
}

# same FILE FILE: equal but for zeroes at the end.
same ()
{
  cmp "$1" "$2" || fail "$1 and $2 differ"
}

commands=$(sqlblock --help | sed -n '/^Commands:/,/^$/ {
  s/^  \([a-z-]*\( [a-z]*\)\{0,1\}\)  .*/\1/p }')

# --- Help and usage ---------------------------------------------------------

test_help ()
{
  local command option words usage
  run 0 --version
  grep -qE '^sqlblock [0-9]+\.[0-9]+' out || fail "version: $(cat out)"
  [ "$(wc -l <<<"$commands")" -ge 15 ] || fail "commands: $commands"
  while read -r command; do
    run 0 help $command
    cp out help
    [ ! -s err ] || fail "help on stderr"
    run 0 $command --help
    same help out
    run 0 $command x y z --help
    case $command in
      "stream info" | attached | detach | umount) usage=$command ;;
      *) usage="$command DATABASE" ;;
    esac
    grep -q "^Usage: sqlblock $usage" out || fail "usage: $command"
    awk 'length > 80 { exit 1 }' out || fail "too wide: help $command"
    # Every option there is says so when it is given a wrong argument, or
    # takes its place beside --help.
    for option in $(sed -n 's/^ .* \(--[a-z-]*\)\(=[A-Z]*\)\{0,1\}  .*/\1\2/p' \
      out); do
      run 0 $command "$option" --help
    done
    # Without arguments: which database?  These need none.
    case $command in
      "stream info" | attached) continue ;;
    esac
    run 2 $command
    is_silent
    says err "sqlblock $command --help"
    run 2 $command "$db" --no-such-option
    says err --no-such-option
  done <<<"$commands"
  run 0 --help
  awk 'length > 80 { exit 1 }' out || fail "too wide: --help"
}

test_usage ()
{
  run 2
  run 2 no-such-command "$db"
  run 2 help no-such-command
  run 2 help list more
  run 2 --no-such-option
  run 2 snapshot
  says err "sqlblock snapshot create"
  run 2 snapshot no-such-word "$db"
  run 0 help snapshot
  says out "sqlblock snapshot list"
  run 0 snapshot --help
  says out "sqlblock snapshot list"
  run 2 create "$db"
  run 2 create "$db" web
  says err "--size=SIZE"
  run 2 create "$db" web 10G
  says err "--size=10G"
  run 2 create "$db" web more --size=1G
  says err "'more' is an argument too many"
  run 2 create "$db" web --size
  run 2 create "$db" web --size=1G --size=2G
  run 2 create "$db" web --size=1G --quiet=yes
  run 2 list "$db" --json=1
  run 2 list "$db" -z
  local size
  for size in '' 0 -1 x 1x 1.5.5G 1Gb 9E 99999999999999999999 0x10 ' 1'; do
    run 2 create "$db" web --size="$size"
  done
  for size in 0 x 5G; do
    run 2 create "$db" web --size=1G --block-size="$size"
  done
  [ ! -e "$db" ] || fail "the file was made"
}

# --- Making and looking -----------------------------------------------------

test_create ()
{
  local command
  # Nothing but create makes a file.
  while read -r command; do
    [ "$command" = create ] && continue
    local words=("$db" disk@x name extra)
    case $command in
      list) words=("$db") ;;
      describe | resize) words=("$db" disk 1G) ;;
      delete | flatten) words=("$db" disk) ;;
      rename | clone) words=("$db" disk name) ;;
      "snapshot list") words=("$db" disk) ;;
      info | map | rollback | diff) words=("$db" disk@x) ;;
      snapshot*) words=("$db" disk@x disk@x) ;;
      *) continue ;;
    esac
    run 3 $command "${words[@]}"
    is_silent
    says err "$db"
    says err "sqlblock create"
  done <<<"$commands"
  [ ! -e "$db" ] || fail "the file was made"

  run 0 create "$db" web --size=64M --description="the web server" -c none
  is_silent
  says err "made disk 'web'"
  [ "$(stat -c %a "$db")" = 600 ] || fail "the file is not private"
  run 4 create "$db" web --size=64M
  run 0 create -q --size 1.5M "$db" --block-size=16k -- mail
  [ ! -s err ] || fail "not quiet"
  run 0 create "$db" "späte Datenbank, 100% \"x\"" -s 10000001
  run 2 create "$db" name@home --size=1G
  run 2 create "$db" a/b --size=1G
  run 2 create "$db" '' --size=1G
  run 2 create "$db" $'a\nb' --size=1G
  run 2 create "$db" $'a\xff' --size=1G
  run 2 create "$db" "$(printf %201s)" --size=1G
  run 1 create "$db" odd --size=1G --block-size=5000
  run 3 create /no/such/directory/x.sqlite disk --size=1G

  echo text >text
  run 1 create text web --size=1G
  run 1 list text
  [ "$(cat text)" = text ] || fail "a foreign file was changed"
  run 1 list .
}

test_list ()
{
  run 0 list "$db"
  [ "$(awk '{ print $1 }' out)" = "NAME
web
mail
späte" ] || fail "list: $(cat out)"
  grep -qE '^web +64M +- +0 +20[0-9-]*T[0-9:]*[+-]' out ||
    fail "list: $(cat out)"
  run 0 list "$db" --usage
  grep -qE '^web +64M +- +0 +0 +0 +20[0-9-]*T[0-9:]*[+-]' out ||
    fail "list: $(cat out)"
  run 0 list "$db" --json
  json 'j["disks"][0]["name"] == "web"'
  json 'j["disks"][0]["description"] == "the web server"'
  json '[d["size"] for d in j["disks"]] == [64 << 20, 3 << 19, 10000001]'
  json '[d["block_size"] for d in j["disks"]] == [4096, 16384, 4096]'
  json 'j["disks"][2]["name"] == "späte Datenbank, 100% \"x\""'
  json 'all(d["snapshots"] == 0 and "stored" not in d for d in j["disks"])'
  json 'j["disks"][0]["origin"] is None and "snapshots" not in j'
  json 're.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$",
    j["disks"][0]["created"])'
  run 0 list --names "$db"
  [ "$(cat out)" = "web
mail
späte Datenbank, 100% \"x\"" ] || fail "names: $(cat out)"

  run 0 info "$db" --json
  json 'j["file"] == "disks.sqlite" and j["disks"] == 3'
  json 'j["snapshots"] == 0 and j["reclaimable"] == 0'
  json 'j["page_size"] == 4096 and j["size"] > 0 and j["free"] >= 0'
  run 0 info "$db"
  grep -qE '^disks: +3$' out || fail "info: $(cat out)"
  run 0 info "$db" web
  grep -qE '^size: +64M \(67108864 bytes\)$' out || fail "info: $(cat out)"
  grep -qE '^description: +the web server$' out || fail "info: $(cat out)"
  run 0 info "$db" mail --json
  json 'j["name"] == "mail" and j["size"] == 3 << 19'
  run 3 info "$db" nothing
  says err web
  run 3 info "$db" web@nothing
  run 3 info "$db" nothing@nothing
}

# --- Snapshots --------------------------------------------------------------

# The disk web gets 1 MiB of "a" at 0 and of "b" at 10 MiB, monday; then "c"
# over the first half of "a", and a hole for "b", tuesday; then "d" at the
# end.
test_snapshots ()
{
  client 'h.pwrite(b"a" * (1 << 20), 0)
h.pwrite(b"b" * (1 << 20), 10 << 20)' web
  copy web monday
  run 0 snapshot create "$db" web@monday mail@monday
  is_silent
  says err "made snapshot 'web@monday'"
  says err "made snapshot 'mail@monday'"
  client 'h.pwrite(b"c" * (1 << 19), 0)
h.trim(1 << 20, 10 << 20)' web
  copy web tuesday
  run 0 snapshot create "$db" --all @tuesday
  [ "$(wc -l <err)" = 3 ] || fail "not all disks: $(cat err)"
  client 'h.pwrite(b"d" * 4096, (64 << 20) - 4096)' web
  copy web now
  copy web@monday out.monday
  same monday out.monday
  copy web@tuesday out.tuesday
  same tuesday out.tuesday

  # All or none, and by names that fit.
  run 4 snapshot create "$db" web@tuesday
  # What is named twice is meant once.
  run 0 snapshot create "$db" web@wednesday web@wednesday
  run 0 snapshot delete "$db" web@wednesday web@wednesday
  run 3 snapshot create "$db" web@wednesday nothing@wednesday
  run 4 snapshot create "$db" --all @monday
  run 2 snapshot create "$db" web
  run 2 snapshot create "$db" web@a mail@b
  run 2 snapshot create "$db" @a
  run 2 snapshot create "$db" --all web@a
  run 2 snapshot create "$db" --all a
  says err "give @a"
  run 2 snapshot create "$db" web@a/b
  run 2 snapshot create "$db" web@
  run 2 snapshot create "$db" web@2026-11-22
  run 2 snapshot create "$db" web@a@b

  run 0 snapshot list "$db" --json
  json '[s["disk"] + "@" + s["snapshot"] for s in j["snapshots"]] == [
    "web@monday", "web@tuesday", "mail@monday", "mail@tuesday",
    "späte Datenbank, 100% \"x\"@tuesday"]'
  run 0 snapshot list "$db" web --json --usage
  json 'len(j["snapshots"]) == 2'
  json '[s["logical"] for s in j["snapshots"]] == [2 << 20, 1 << 20]'
  json 'all(s["size"] == 64 << 20 for s in j["snapshots"])'
  json 'all(s["automatic"] is False for s in j["snapshots"])'
  # Deleting monday frees "b" and the "a" that "c" replaced.
  json '[s["exclusive"] for s in j["snapshots"]] == [3 << 19, 0]'
  json 'all(re.match("[0-9a-f]{16}$", s["guid"]) for s in j["snapshots"])'
  run 0 snapshot list "$db" web
  grep -qE '^web@monday +64M +20.* user +-$' out ||
    fail "snapshot list: $(cat out)"
  run 0 snapshot list "$db" web -u
  grep -qE '^web@monday +64M +2M +1.5M +20.* user +-$' out ||
    fail "snapshot list: $(cat out)"
  run 3 snapshot list "$db" nothing
  run 2 snapshot list "$db" web@monday
  run 0 list "$db" --all
  [ "$(wc -l <out)" = 9 ] || fail "list --all: $(cat out)"
  run 0 list "$db" --all --json -u
  json 'len(j["disks"]) == 3 and len(j["snapshots"]) == 5'
  json 'j["disks"][0]["snapshots"] == 2'
  json 'j["disks"][0]["history"] == (5 << 19) + 4096'
  run 0 list "$db" --all --names
  [ "$(sed -n 2,4p out)" = "web@monday
web@tuesday
mail" ] || fail "names: $(cat out)"
  run 0 info "$db" web@monday --json
  json 'j["disk"] == "web" and j["snapshot"] == "monday"'
  # By a time: the newest.
  run 0 info "$db" web@9999-01-01 --json
  json 'j["snapshot"] == "tuesday"'
  run 3 info "$db" web@1999-01-01
}

test_diff ()
{
  run 0 diff "$db" web@monday --json
  json 'j["from"] == "web@monday" and j["to"] == "web"'
  json 'j["ranges"] == [
    {"offset": 0, "length": 1 << 19, "type": "data"},
    {"offset": 10 << 20, "length": 1 << 20, "type": "zero"},
    {"offset": (64 << 20) - 4096, "length": 4096, "type": "data"}]'
  json 'j["data"] == (1 << 19) + 4096 and j["zero"] == 1 << 20'
  run 0 diff "$db" web@monday @tuesday --json
  json 'j["to"] == "web@tuesday" and len(j["ranges"]) == 2'
  run 0 diff "$db" web@tuesday web@monday --json
  json 'j["ranges"][1]["type"] == "data" and j["data"] == 3 << 19'
  run 0 diff "$db" web@monday web@monday --json
  json 'j["ranges"] == [] and j["data"] == 0'
  run 0 diff "$db" web@monday web@monday
  is_silent
  says err "no differences"
  run 0 diff "$db" web@monday --json --summary
  json '"ranges" not in j and j["zero"] == 1 << 20'
  run 0 diff "$db" web@monday
  [ "$(awk '{ print $1, $2, $3 }' out)" = "OFFSET LENGTH TYPE
0 524288 data
10485760 1048576 zero
67104768 4096 data" ] || fail "diff: $(cat out)"
  run 0 diff "$db" web@monday --summary
  says out "516K of data, 1M of zeroes"
  run 2 diff "$db" web
  run 3 diff "$db" web@nothing
  is_silent
  run 3 diff "$db" web@monday @nothing --json
  is_silent
  # Blocks of another size.
  run 1 diff "$db" web@monday mail
}

test_map ()
{
  run 0 map "$db" web --json
  json 'j["name"] == "web" and j["size"] == 64 << 20'
  json 'j["stored"] == sum(j["stored_cells"]) == (1 << 20) + 4096'
  json 'len(j["stored_cells"]) == -(-j["size"] // j["cell_size"])'
  json '"since" not in j'
  run 0 map "$db" web --json --since=monday
  json 'j["since"] == "web@monday"'
  json 'j["changed"] == sum(j["changed_cells"]) == (3 << 19) + 4096'
  run 0 map "$db" web@monday --since=@tuesday --json --width=1 --height=1
  json 'j["stored_cells"] == [2 << 20] and j["changed_cells"] == [3 << 19]'
  # No terminal: plain ASCII.
  run 0 map "$db" web --since=web@monday --width=74 --height=16
  if LC_ALL=C grep -q '[^ -~]' out; then
    fail "not ASCII: $(cat out)"
  fi
  grep -qE '^ +0  ########::::::::\.+$' out || fail "map: $(cat out)"
  grep -qE '^ +8M  \.{32}################\.{16}$' out || fail "map: $(cat out)"
  awk 'length > 80 { exit 1 }' out || fail "too wide: $(cat out)"
  run 0 map "$db" web --color=always
  says out $'\033[38;5;'
  says out █
  run 2 map "$db" web --width=0
  run 2 map "$db" web --height=x
  run 2 map "$db" web --color=blue
  run 3 map "$db" nothing
  run 3 map "$db" web@nothing
  run 3 map "$db" web --since=nothing

  # On a terminal.
  terminal env TERM=xterm LC_ALL=C.UTF-8 sqlblock map "$db" web
  says terminal.out $'\033[38;5;'
  terminal env TERM=xterm LC_ALL=C.UTF-8 NO_COLOR=1 sqlblock map "$db" web
  terminal_is_plain
  terminal env TERM=dumb LC_ALL=C.UTF-8 sqlblock map "$db" web
  terminal_is_plain
  terminal env TERM=xterm LC_ALL=C sqlblock map "$db" web
  terminal_is_plain
}

# terminal COMMAND...: run it on a terminal; what it prints is in
# terminal.out.
terminal ()
{
  python3 -c '
import pty, sys
with open("terminal.out", "wb") as out:
    def read(fd):
        data = __import__("os").read(fd, 65536)
        out.write(data)
        return data
    sys.exit(pty.spawn(sys.argv[1:], read) != 0)' "$@" \
    >/dev/null </dev/null || fail "on a terminal: $*"
}

terminal_is_plain ()
{
  says terminal.out "stored"
  if tr -d '\r' <terminal.out | LC_ALL=C grep '[^ -~]' >/dev/null; then
    fail "not ASCII: $(cat terminal.out)"
  fi
}

# --- Changing ---------------------------------------------------------------

test_rename ()
{
  run 0 rename "$db" mail post
  is_silent
  run 3 info "$db" mail
  run 0 info "$db" post@monday
  run 4 rename "$db" post web
  run 3 rename "$db" mail letters
  run 2 rename "$db" post a@b
  run 2 rename "$db" post ''
  run 0 rename "$db" post@monday first
  says err "to 'post@first'"
  run 0 info "$db" post@first
  run 0 rename "$db" post@first post@second
  run 0 rename "$db" post@second @monday
  run 4 rename "$db" post@monday tuesday
  run 3 rename "$db" post@nothing something
  run 2 rename "$db" post@monday web@wednesday
  run 2 rename "$db" post@monday 2026-11-22
  run 0 rename "$db" post mail

  run 0 describe "$db" mail "letters, parcels"
  run 0 info "$db" mail --json
  json 'j["description"] == "letters, parcels"'
  run 0 describe "$db" mail ''
  run 0 info "$db" mail --json
  json 'j["description"] == ""'
  run 3 describe "$db" nothing text
  run 0 describe "$db" mail@monday text
  run 0 info "$db" mail@monday --json
  json 'j["description"] == "text"'
  run 3 describe "$db" mail@nothing text
  run 2 describe "$db" mail@9999-01-01 text
  run 1 describe "$db" mail $'two\nlines'
}

test_resize ()
{
  run 0 resize "$db" mail 2M
  run 0 resize "$db" mail +1M
  run 0 info "$db" mail --json
  json 'j["size"] == 3 << 20'
  client 'h.pwrite(b"e" * 4096, (3 << 20) - 4096)' mail
  run 1 resize "$db" mail -1M
  says err --shrink
  run 1 resize "$db" mail 1M
  run 0 resize "$db" mail -1M --shrink
  run 0 resize "$db" mail 3M
  # What was cut off does not come back.
  client 'assert h.pread(1 << 20, 2 << 20) == bytearray(1 << 20)' mail
  run 0 info "$db" mail@monday --json
  json 'j["size"] == 3 << 19'
  run 1 resize "$db" mail -3M --shrink
  run 1 resize "$db" mail -4M --shrink
  run 3 resize "$db" nothing 1G
  local size
  for size in x +x -x 0 '' 9E; do
    run 2 resize "$db" mail "$size"
  done
  run 2 resize "$db" mail@monday 1G
}

test_clone ()
{
  run 0 clone "$db" web@monday test --description="a test"
  is_silent
  run 0 info "$db" test --json
  json 'j["origin"] == "web@monday" and j["description"] == "a test"'
  json 'j["size"] == 64 << 20 and j["logical"] == 2 << 20'
  json 'j["exclusive"] == 0'
  copy test out.test
  same monday out.test
  client 'h.pwrite(b"f" * 65536, 1 << 19)' test
  copy web@monday out.monday
  same monday out.monday
  run 0 clone "$db" web head
  copy head out.head
  same now out.head
  run 4 clone "$db" web test
  run 3 clone "$db" nothing new
  run 3 clone "$db" web@nothing new
  run 2 clone "$db" web a@b

  copy test before
  run 0 flatten "$db" test
  run 0 info "$db" test --json
  json 'j["origin"] is None and j["exclusive"] == 2 << 20'
  copy test out.test
  same before out.test
  run 0 flatten "$db" test
  run 3 flatten "$db" nothing
  run 2 flatten "$db" web@monday
}

test_rollback ()
{
  run 0 rollback "$db" web@monday --dry-run
  says out "loses changes in"
  copy web out.now
  same now out.now
  run 0 rollback "$db" web@monday
  is_silent
  copy web out.web
  same monday out.web
  run 0 snapshot list "$db" web --json
  json 'len(j["snapshots"]) == 2'
  run 0 rollback "$db" web@tuesday
  copy web out.web
  same tuesday out.web
  run 0 rollback "$db" mail@monday
  run 0 info "$db" mail --json
  json 'j["size"] == 3 << 19'
  run 2 rollback "$db" web
  run 3 rollback "$db" web@nothing
  run 3 rollback "$db" nothing@monday
}

# --- Deleting ---------------------------------------------------------------

# unchanged COMMAND...: it must succeed, and change nothing.
unchanged ()
{
  sqlblock list "$db" --all --json >list.before
  run 0 "$@"
  sqlblock list "$db" --all --json >list.after
  same list.before list.after
}

test_delete ()
{
  run 4 delete "$db" web
  says err --snapshots
  says err "2 snapshots"
  run 4 delete "$db" web --dry-run
  unchanged delete "$db" web --snapshots --dry-run
  says out "would delete disk 'web' and its 2 snapshots, which frees"
  unchanged delete "$db" test -n
  says out "which frees 2M"
  run 3 delete "$db" nothing
  run 3 delete "$db" nothing --dry-run
  run 2 delete "$db" web@monday
  says err "sqlblock snapshot delete"

  run 0 delete "$db" test
  is_silent
  says err "freed 2M"
  run 3 info "$db" test
  run 0 info "$db" --json
  json 'j["reclaimable"] == 0 and j["free"] >= 2 << 20'

  # What is left to compact is counted, and the next one frees it too.
  client 'h.pwrite(b"g" * (1 << 20), 20 << 20)' head
  run 0 delete "$db" head --no-reclaim
  run 0 info "$db" --json
  json 'j["reclaimable"] > 0'
  run 0 info "$db"
  says out "sqlblock compact"
  run 0 create "$db" small --size=1M
  run 0 delete "$db" small
  run 0 info "$db" --json
  json 'j["reclaimable"] == 0'
}

test_delete_snapshots ()
{
  local name
  for name in a b c d e..f g h; do
    run 0 snapshot create "$db" "web@$name"
    client "h.pwrite(b\"$name\" * 4096, 30 << 20)" web
  done
  unchanged snapshot delete "$db" web@b..d --dry-run
  [ "$(grep -c "would delete snapshot" out)" = 3 ] || fail "$(cat out)"
  says out "which frees 12K"
  unchanged snapshot delete "$db" web@b -n
  says out "which frees 4K"
  run 0 snapshot delete "$db" web@b..d
  is_silent
  remaining "monday tuesday a e..f g h"
  run 0 snapshot delete "$db" web@e..f
  remaining "monday tuesday a g h"
  # None of several where one is missing.
  run 3 snapshot delete "$db" web@a web@nothing
  run 3 snapshot delete "$db" web@nothing
  run 3 snapshot delete "$db" web@a web@nothing --dry-run
  is_silent
  run 2 snapshot delete "$db" web@9999-01-01 --dry-run
  run 3 snapshot delete "$db" web@a..nothing
  says err "no snapshot 'nothing'"
  run 3 snapshot delete "$db" web@nothing..
  says err "no snapshot 'nothing'"
  run 2 snapshot delete "$db" web@1999-01-01..
  says err "'1999-01-01' is a time"
  run 2 snapshot delete "$db" web@a..2026-11-22T10:42
  says err "'2026-11-22T10:42' is a time"
  run 1 snapshot delete "$db" web@h..a
  says err "'a' is older than 'h'"
  run 3 snapshot delete "$db" nothing@a..b
  run 2 snapshot delete "$db" web
  run 2 snapshot delete "$db" web@9999-01-01
  remaining "monday tuesday a g h"
  run 0 snapshot delete "$db" web@h web@g..h mail@monday
  remaining "monday tuesday a"
  run 0 snapshot delete "$db" web@tuesday..
  remaining "monday"
  copy web@monday out.monday
  same monday out.monday
  run 0 snapshot create "$db" web@newer
  run 0 snapshot delete "$db" web@..newer --no-reclaim
  remaining ""
  run 0 delete "$db" web --snapshots
  run 0 delete "$db" mail --snapshots
  run 0 delete "$db" "späte Datenbank, 100% \"x\"" --snapshots
  run 0 list "$db" --json
  json 'j["disks"] == []'
  run 0 list "$db"
  run 0 info "$db" --json
  json 'j["snapshots"] == 0 and j["reclaimable"] == 0'
  run 0 create "$db" web --size=64M
}

# What can mean several things is refused, also with --dry-run; so is a name
# that is a time, while what only begins as one is a name.
test_ambiguous ()
{
  local name
  run 0 create "$db" dots --size=1M
  for name in a b c a..b b..c 2026-11-22-update; do
    run 0 snapshot create "$db" "dots@$name"
  done
  unambiguous="$(sqlblock list "$db" --names --all)"
  for name in a..b a..b..c b..c; do
    run 1 snapshot delete "$db" "dots@$name" -n
    is_silent
    run 1 snapshot delete "$db" "dots@$name"
    says err "can mean several things"
  done
  [ "$unambiguous" = "$(sqlblock list "$db" --names --all)" ] ||
    fail "something was deleted"
  run 0 rename "$db" dots@a..b ab
  run 0 rename "$db" dots@b..c bc
  run 0 snapshot delete "$db" dots@a..b -n
  [ "$(grep -c "would delete snapshot" out)" = 2 ] || fail "$(cat out)"
  # With both ends empty, as of variables that are not set, it is none.
  local before
  before=$(sqlblock list "$db" --names --all)
  for name in dots@.. "dots@a dots@.." nothing@..; do
    # shellcheck disable=SC2086
    run 2 snapshot delete "$db" $name
    says err "--all"
    # shellcheck disable=SC2086
    run 2 snapshot delete "$db" $name --dry-run
  done
  run 2 snapshot delete none.sqlite dots@..
  run 2 snapshot delete "$db" dots@a --all
  run 2 snapshot delete "$db" dots@.. --all
  run 2 snapshot delete "$db" "" --all
  run 2 snapshot delete "$db" --all
  run 3 snapshot delete "$db" dots nothing --all
  [ "$before" = "$(sqlblock list "$db" --names --all)" ] ||
    fail "something was deleted"
  # All is said in words.
  run 0 create "$db" other --size=1M
  run 0 snapshot create "$db" other@a
  run 0 snapshot delete "$db" dots --all -n
  [ "$(grep -c "would delete snapshot 'dots@" out)" = 6 ] || fail "$(cat out)"
  [ "$before" = "$(sqlblock list "$db" --names --all | grep -v other)" ] ||
    fail "something was deleted"
  run 0 snapshot delete "$db" --all dots
  run 0 info "$db" other@a
  run 3 info "$db" dots@a
  says err "it has none"
  run 3 snapshot delete "$db" dots --all
  says err "disk 'dots' has no snapshots"
  run 0 delete "$db" other --snapshots
  run 2 snapshot create "$db" "dots@2026-11-22 10:42"
  run 2 snapshot create "$db" dots@2026-11-22T
  run 0 delete "$db" dots
}

# What is said in words: units, plurals, what was chosen, nothing to do.
test_words ()
{
  run 0 create "$db" short --size=512
  says err "of 512 bytes"
  run 0 create "$db" long --size=1M
  client 'h.pwrite(b"l" * 19, 0)' long
  run 0 diff "$db" short long
  says err "'short' has 512 bytes, 'long' has 1M"
  run 0 diff "$db" long short --json
  json 'j["from_size"] == 1 << 20 and j["to_size"] == 512'
  says err "'long' has 1M, 'short' only 512 bytes"
  run 0 create "$db" blocks --size=1M --block-size=8k
  run 1 diff "$db" long blocks --json
  is_silent
  run 0 clone "$db" long child
  run 0 flatten "$db" child
  says err "copied"
  run 0 flatten "$db" child
  says err "there was nothing to do"
  run 0 snapshot create "$db" long@chosen
  client 'h.pwrite(b"m", 0)' long
  run 0 rollback "$db" long@9999-01-01 -n
  says out "to 'long@chosen' (the newest by 9999-01-01)"
  run 0 rollback "$db" long@9999-01-01
  says err "to 'long@chosen' (the newest by 9999-01-01)"
  says err "9999-01-01 is in the future"
  run 0 list "$db" --names --json
  json '"long" in j["names"]'
  # Where nothing was to do that is said.
  run 0 resize "$db" long 1M
  says err "has 1M already"
  run 0 recompress "$db" long
  says err "there was nothing to do"
  run 4 backup "$db" out
  says err "nothing is overwritten"
  run 0 rename "$db" long long
  says err "is called that already"
  run 0 rename "$db" long@chosen long@chosen
  says err "is called that already"
  run 0 compact "$db"
  says out " now"
  if grep -q '^:' out; then
    fail "$(cat out)"
  fi
  # Standard input and output are called that.
  run 1 import "$db" new -
  says err "standard input is empty"
  sqlblock export "$db" long - >/dev/full 2>err && fail "a full device takes it"
  says err "writing standard output"
  run 3 import none.sqlite new /etc/passwd
  says err "--create"
  ln -s nowhere dangling
  run 4 export "$db" long dangling
  says err "symbolic link"
  local choice
  for choice in true TRUE yes 1 on t y; do
    run 0 set "$db" long "dedup=$choice"
    run 0 info "$db" long --json
    json 'j["dedup"] is True'
    run 0 set "$db" long dedup=off
  done
  for choice in child long short blocks; do
    run 0 delete "$db" "$choice" --snapshots
  done
  run 0 check "$db"
  says err "1 disk,"
}

# remaining NAMES: these are the snapshots of web.
remaining ()
{
  run 0 snapshot list "$db" web --json
  json "[s['snapshot'] for s in j['snapshots']] == '$1'.split ()"
}

# --- Beside a server --------------------------------------------------------

# hold EXPORT: a client that has the disk open and writes to it all the
# time, until it is killed. It ends with 7 when a write fails.
hold ()
{
  rm -f held
  nbdsh -u "$(uri s "$1")" -c "
import sys, time
n = 0
while True:
    try:
        h.pwrite(n.to_bytes(8, 'little') * 512, 4096 * (n % 1000))
    except nbd.Error:
        sys.exit(7)
    n += 1
    if n == 50:
        open('held', 'w').close()" &
  holder=$!
  started_pids+=("$holder")
  for _ in $(seq 300); do
    [ -e held ] && return
    sleep 0.1
  done
  fail "the client did not connect"
}

test_server ()
{
  local code
  run 0 create "$db" mail --size=64M
  start_nbdkit s "$plugin" "$db"
  hold web

  # All this works while the disk is written.
  run 0 snapshot create "$db" web@one mail@one
  run 0 list "$db" --all --json
  json 'j["snapshots"][0]["snapshot"] == "one"'
  nbdcopy "$(uri s web@one)" one
  run 0 diff "$db" web@one --json
  run 0 map "$db" web --since=one
  run 0 info "$db" web
  run 0 clone "$db" web@one copy
  nbdcopy "$(uri s copy)" out.copy
  same one out.copy
  run 0 flatten "$db" copy
  run 0 rename "$db" web site
  run 0 rename "$db" site web
  run 0 describe "$db" web "still there"
  run 0 resize "$db" web +64M
  [ "$(nbdinfo --size "$(uri s web)")" = $((128 << 20)) ] ||
    fail "clients do not see the new size"
  run 0 create "$db" new --size=1M
  [ "$(nbdinfo --size "$(uri s new)")" = $((1 << 20)) ] ||
    fail "clients do not see the new disk"
  run 0 delete "$db" new
  run 0 snapshot create "$db" web@two
  run 0 snapshot delete "$db" web@two

  # This does not.
  run 5 resize "$db" web 64M --shrink
  run 5 rollback "$db" web@one
  run 5 delete "$db" web --snapshots
  nbdcopy "$(uri s web@one)" out.one
  same one out.one
  kill -0 "$holder" || fail "the client's write failed"

  # With --force the client is the one that fails.
  run 0 rollback "$db" web@one --force
  code=0
  wait "$holder" || code=$?
  [ "$code" = 7 ] || fail "the client was to fail: $code"
  nbdcopy "$(uri s web)" out.web
  same one out.web
  hold web
  run 0 delete "$db" web --snapshots --force
  code=0
  wait "$holder" || code=$?
  [ "$code" = 7 ] || fail "the client was to fail: $code"
  if nbdinfo --size "$(uri s web)" 2>/dev/null; then
    fail "a deleted disk is served"
  fi
  [ "$(nbdinfo --size "$(uri s mail)")" = $((64 << 20)) ] ||
    fail "the server does not go on"
  run 0 rollback "$db" mail@one
  stop_nbdkit
}

# --- Output and interruption ------------------------------------------------

test_output ()
{
  if sqlblock list "$db" --json >/dev/full 2>err; then
    fail "a full device was not noticed"
  fi
  says err "sqlblock: writing the output"
  client 'h.pwrite(b"h" * (16 << 20), 0)' mail
  run 0 snapshot create "$db" mail@full
  run 0 clone "$db" mail@full clone
  run 0 flatten "$db" clone --progress
  is_silent
  says err "flattening"
  run 0 delete "$db" clone --progress
  says err "freeing space"
  run 0 clone "$db" mail@full clone
  run 0 delete "$db" clone --no-progress
  terminal sqlblock map "$db" mail --progress
  says terminal.out "looking  [#"
  says terminal.out " 16M of 64M"
  run 0 delete "$db" mail --dry-run --snapshots --no-progress
  [ ! -s err ] || fail "progress: $(cat err)"
}

# A signal ends what takes long between two steps; it can be done again.
test_interrupt ()
{
  local code i
  run 0 clone "$db" mail@full clone
  copy mail@full full
  for i in 1 2 3 5 8; do
    timeout --preserve-status -s INT "0.0$i" \
      sqlblock flatten "$db" clone >out 2>err && code=0 || code=$?
    case $code in
      0 | 130) ;;
      *) cat err >&2; fail "exit code $code after a signal" ;;
    esac
    copy clone out.clone
    same full out.clone
  done
  run 0 flatten "$db" clone
  copy clone out.clone
  same full out.clone
  run 0 delete "$db" clone
  run 0 info "$db" --json
  json 'j["reclaimable"] == 0'
}

# On a narrow terminal nothing is wider than that: a line that wraps is not
# drawn over, but drawn again below.
test_narrow ()
{
  cat >narrow.py <<'EOF2'
import fcntl, os, pty, re, struct, sys, termios
columns = int(sys.argv[1])
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.execvp("sqlblock", ["sqlblock", *sys.argv[2:]])
seen = b""
while True:
    try:
        seen += os.read(fd, 4096)
    except OSError:
        break
assert os.waitpid(pid, 0)[1] == 0, seen
text = re.sub("\x1b\\[[0-9;]*[A-Za-z]", "", seen.decode())
lines = [line for line in re.split("[\r\n]+", text)
         if line and not re.match("exported|narrow:", line)]
assert lines, seen
for line in lines:
    if len(line) > columns or ("%" in line and len(line) == columns):
        sys.exit("%d of %d columns: %r" % (len(line), columns, line))
EOF2
  local width name
  name=$(printf 'long %.0s' {1..20})
  run 0 create "$db" narrow --size=4M
  run 0 create "$db" "$name" --size=4M
  client 'h.pwrite(b"n" * 100000, 1000000)' narrow
  run 0 snapshot create "$db" narrow@a
  for width in 24 30 40 60 200; do
    python3 narrow.py $width export "$db" narrow narrow.raw --progress \
      --overwrite || fail "progress in $width columns"
    python3 narrow.py $width export "$db" "$name" narrow.raw --progress \
      --overwrite || fail "progress of a long name in $width columns"
    python3 narrow.py $width map "$db" narrow --since=a --height=4 || fail "a map in $width columns"
    run 0 map "$db" narrow --since=a --width=$width
    awk -v width=$width 'NR > 1 && length > width { exit 1 }' out ||
      fail "a map with --width=$width: $(cat out)"
  done
  run 0 delete "$db" narrow --snapshots
  run 0 delete "$db" "$name"
}

# What only the owner may read others cannot.
test_permissions ()
{
  [ "$(id -u)" != 0 ] || return 0
  chmod 400 "$db"
  run 1 create "$db" other --size=1M
  run 0 list "$db"
  chmod 600 "$db"
}

test_help
test_usage
test_create
test_list
test_snapshots
test_diff
test_map
test_rename
test_resize
test_clone
test_rollback
test_delete
test_delete_snapshots
test_ambiguous
test_words
test_server
test_output
test_interrupt
test_narrow
test_permissions
