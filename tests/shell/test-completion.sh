#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Completion in bash of the command sqlblock: commands, options, files, and
# the disks and snapshots of a file. Its function is called as bash would
# call it, and at last by bash itself, on a terminal.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need python3
library=/usr/share/bash-completion/bash_completion
[ -e $library ] || skip "bash-completion is not installed"

PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=disks.sqlite

sqlblock create -q $db web --size=1M
sqlblock create -q $db weather --size=1M
sqlblock create -q $db "my disk" --size=1M
sqlblock snapshot create -q $db web@monday "my disk@monday"
sqlblock snapshot create -q $db web@morning
sqlblock snapshot create -q $db "my disk@late evening"
mkdir directory
touch other.sqlite

# Names that a shell would take for something else, each with a letter of its
# own in front.
odd=directory/odd.sqlite
names=('a$(touch ran)' 'b`touch ran`' 'c"$HOME' "d's; touch ran" 'e *[x]?~!'
       'f\\g' 'h&"' "i'" 'j|touch ran' 'k>ran')
for name in "${names[@]}"; do
  sqlblock create -q $odd "$name" --size=1M
  sqlblock snapshot create -q $odd "$name@first"
done

# It is not written for "set -eu".
set +eu
. $library
. "$srcdir/../tool/completion.bash"

# bash gives it only to completions that it calls itself.
compopt ()
{
  options="$*"
}

# complete_line LINE: let the function complete the end of LINE; the words
# are split as bash does it, also at "=", and "@" where that breaks words.
complete_line ()
{
  COMP_LINE=$1
  COMP_POINT=${#1}
  mapfile -t COMP_WORDS < <(python3 -c '
import re, sys
line, breaks = sys.argv[1], re.escape("=" + "@" * ("@" in sys.argv[2]))
words = re.findall(r"""[%s]|(?:\\.|"(?:\\.|[^"])*"?|\x27[^\x27]*\x27?|
                       [^\s%s\\"\x27])+""" % (breaks, breaks), line, re.X)
if line[-1] == " ":
    words.append("")
print("\n".join(words))' "$1" "$COMP_WORDBREAKS")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  options=
  _sqlblock
}

# offers LINE WORD...: exactly these words, in any order.
offers ()
{
  local line=$1 got wanted
  shift
  complete_line "$line"
  got=$(printf '%s\n' "${COMPREPLY[@]}" | sort)
  wanted=$(printf '%s\n' "$@" | sort)
  [ "$got" = "$wanted" ] || fail "«$line» offers «$got», not «$wanted»"
}

# has LINE WORD...: these words, and perhaps others.
has ()
{
  local line=$1 word
  shift
  complete_line "$line"
  for word; do
    grep -qxF -- "$word" < <(printf '%s\n' "${COMPREPLY[@]}") ||
      fail "«$line» does not offer «$word»: ${COMPREPLY[*]}"
  done
}

# has_not LINE WORD: not this one.
has_not ()
{
  complete_line "$1"
  if grep -qxF -- "$2" < <(printf '%s\n' "${COMPREPLY[@]}"); then
    fail "«$1» offers «$2»"
  fi
}

# --- Commands and options ---------------------------------------------------

has "sqlblock " create list info snapshot map help --help --version
offers "sqlblock cr" create
offers "sqlblock snapshot " create list delete hold release
offers "sqlblock snapshot l" list
offers "sqlblock snap l" list
offers "sqlblock ls $db --na" --names
offers "sqlblock rm $db we" weather web
offers "sqlblock -q snap rm $db web@mor" web@morning
offers "sqlblock help fl" flatten
offers "sqlblock help snapshot de" delete
offers "sqlblock help list "
offers "sqlblock nonsense $db "
offers "sqlblock li" list
offers "sqlblock to" top
offers "sqlblock top disks.sqlite --int" --interval=

has "sqlblock list $db --" --all --names --json --quiet --help
has_not "sqlblock list $db --" --size=
offers "sqlblock list --na" --names
offers "sqlblock create --si" --size=
[ "$options" = "-o nospace" ] || fail "a space after --size="
offers "sqlblock snapshot delete $db --dr" --dry-run
offers "sqlblock snapshot delete --all $db we" weather web
cp "$db" held.sqlite
offers "sqlblock snapshot release held.sqlite web@monday "
for tag in nightly news "a, since b"; do
  "$top_builddir/tool/sqlblock" snapshot hold -q held.sqlite web@monday "$tag"
done
offers "sqlblock snapshot release held.sqlite web@monday n" news nightly
offers "sqlblock snapshot release held.sqlite web@monday a" 'a\,\ since\ b'
offers "sqlblock snapshot hold held.sqlite web@monday "
offers "sqlblock snapshot hold held.sqlite web@morning n" news nightly
offers "sqlblock snapshot hold held.sqlite web@morning nightly "
rm -f held.sqlite*
offers "sqlblock map $db web --color=a" always auto
offers "sqlblock list $db -o s" size stored shared snapshots
has "sqlblock usage $db web " web
offers "sqlblock usage $db -o l" logical
offers "sqlblock list $db --columns=name,s" 'name\,size' 'name\,stored' \
  'name\,shared' 'name\,snapshots'
offers "sqlblock snap ls $db --sort-down=" name size logical stored ratio \
  shared frees exclusive created by holds guid description
offers "sqlblock map $db web --color n" never
offers "sqlblock create $db new --size="
offers "sqlblock create $db new --compression=z" zstd
offers "sqlblock -q li" list
offers "sqlblock --quiet set $db web de" dedup= description=

# What set takes.
offers "sqlblock set $db web d" dedup= description=
[ "$options" = "-o nospace" ] || fail "a space after compression="
offers "sqlblock set $db web us" user:
offers "sqlblock set $db web user:o"
offers "sqlblock set $db web dedup=o" on off
offers "sqlblock set $db web compression=" none lz4 zstd
offers "sqlblock set $db web dedup=on quota=n" none
offers "sqlblock set $db web nonsense="
offers "sqlblock set $db / auto-snapshot=o" off
offers "sqlblock set $db aut" auto-snapshot=
offers "sqlblock get $db web si" size
offers "sqlblock get $db web size,ke" 'size\,keep'
offers "sqlblock inherit $db web auto" auto-snapshot
offers "sqlblock inherit $db web used"
for key in 'user:a/b' 'user:[' 'user:.*' 'user:\(' 'user:KEY'; do
  complete_line "sqlblock set $db web $key=o" 2>err
  [ "${COMPREPLY[*]}" = "" ] && [ ! -s err ] ||
    fail "behind $key=: ${COMPREPLY[*]} $(cat err)"
done
rm -f err

# --- Files, disks, snapshots ------------------------------------------------

offers "sqlblock list " disks.sqlite other.sqlite directory
offers "sqlblock list --all d" disks.sqlite directory
offers "sqlblock delete $db we" web weather
[ -z "$options" ] || fail "no space after a disk"
offers "sqlblock create $db "
offers "sqlblock rename $db web "
offers "sqlblock resize $db web "
offers "sqlblock list $db "
offers "sqlblock delete nothing.sqlite "
offers "sqlblock delete /etc/passwd "

# A disk, or the way to its snapshots.
offers "sqlblock info $db we" web web@ weather weather@
offers "sqlblock rollback $db weat" weather@
[ "$options" = "-o nospace" ] || fail "a space after @"
offers "sqlblock snapshot create $db weat" weather@
offers "sqlblock snapshot create $db web@x weat" weather@
# What is in front of an "@" that breaks words stays as it is typed, and is
# not offered. bash-completion makes that it does not break them.
offers_snapshots ()
{
  local before=$1
  shift
  offers "sqlblock info $db web@" "${before}monday" "${before}morning"
  offers "sqlblock rollback $db web@mond" "${before}monday"
  offers "sqlblock snapshot delete $db web@monday web@mor" "${before}morning"
  offers "sqlblock delete $db web@"
  offers "sqlblock diff $db web@monday web@mor" "${before}morning"
  offers "sqlblock diff $db web@monday @mor" "${before#web}morning"
  offers "sqlblock map $db web --since=mor" morning
  offers "sqlblock map $db web --since mon" monday
  offers "sqlblock info -q --json $db web@mor" "${before}morning"
  offers "sqlblock clone --description text $db web@mor" "${before}morning"
  offers "sqlblock clone -d text $db web@mor" "${before}morning"
  offers 'sqlblock info disks.sqlite my\ disk@la' \
    "${before:+my\ disk@}late\ evening"
  offers 'sqlblock info disks.sqlite "my disk@la' 'my disk@late evening'
}
offers_snapshots web@
COMP_WORDBREAKS+=@
offers_snapshots ""
COMP_WORDBREAKS=${COMP_WORDBREAKS//@/}

# A disk that looks like an option is offered where it is taken for a disk.
sqlblock create -q --size=1M -- directory/dash.sqlite --all
offers "sqlblock delete directory/dash.sqlite "
offers "sqlblock delete -- directory/dash.sqlite " --all

# Another program's lock is not waited for, and nothing is left.
cp $db directory/locked.sqlite
python3 -c '
import sqlite3, time
c = sqlite3.connect("directory/locked.sqlite", isolation_level=None)
c.execute("PRAGMA locking_mode = EXCLUSIVE")
c.execute("BEGIN EXCLUSIVE")
open("locked", "w").close()
time.sleep(300)' &
started_pids+=($!)
wait_for test -e locked
ls -l directory >before
SECONDS=0
offers "sqlblock delete directory/locked.sqlite "
[ $SECONDS -lt 15 ] || fail "completion waited $SECONDS seconds for a lock"
ls -l directory | cmp - before || fail "completion changed something"
kill "${started_pids[-1]}"

# Names that bash must not take apart.
offers "sqlblock delete $db my" 'my\ disk'
offers 'sqlblock delete disks.sqlite my\ d' 'my\ disk'
offers "sqlblock delete $db \"my d" 'my disk'

# What is typed is not run.
offers "sqlblock info $db /e touch ran/ "
offers 'sqlblock /etouch ran; '
offers 'sqlblock $(touch ran) '
offers 'sqlblock info $(touch ran) web@'
[ ! -e ran ] || fail "completion ran what was typed"

# Thousands of snapshots are offered without a wait.
many ()
{
  seq --format='web@%.0f	now' 10000
}
SECONDS=0
complete_line "many info $db web@"
[ "${#COMPREPLY[@]}" -eq 10000 ] || fail "${#COMPREPLY[@]} are offered"
[ $SECONDS -lt 15 ] || fail "10000 snapshots took $SECONDS seconds"

# Names are not run either, once they stand on the line: whatever the quotes,
# the shell takes the word for the name, and so does what completes the next.
for name in "${names[@]}"; do
  for quote in '' \" \'; do
    complete_line "sqlblock delete $odd $quote${name:0:1}"
    word=$quote${COMPREPLY[0]}
    # As readline does it.
    [ -z "$quote" ] || [ "${word: -1}" = "$quote" ] || word+=$quote
    [ "$(eval "printf '%s' $word")" = "$name" ] ||
      fail "«$name» is completed as «$word»"
    offers "sqlblock map $odd $word --since=f" first
  done
done
[ ! -e ran ] || fail "a name was run"

# --- bash itself ------------------------------------------------------------

# A terminal on which someone types, and presses Tab.
python3 - "$library" "$srcdir/../tool/completion.bash" <<'EOF2' || fail "bash"
import os, pty, re, select, sys, time

pid, fd = pty.fork()
if pid == 0:
    os.environ["INPUTRC"] = "/dev/null"
    os.environ["TERM"] = "dumb"
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])

def read_until(text):
    seen = b""
    deadline = time.time() + 60
    while not re.search(text, seen):
        if not select.select([fd], [], [], max(0, deadline - time.time()))[0]:
            sys.exit("no %r in %r" % (text, seen))
        seen += os.read(fd, 4096)

def type_and_expect(keys, printed):
    """What the echo of the completed line prints, on a line of its own."""
    os.write(fd, keys)
    read_until(rb"\n<" + re.escape(printed) + rb">\r?\n")

os.write(fd, b"PS1=; . %s; . %s\n" % tuple(os.fsencode(a)
                                           for a in sys.argv[1:]))
os.write(fd, b"echo rea''dy\n")
read_until(rb"ready")
show = b"\x01printf '<%s>\\n' \"\x05\"\n"
for typed, whole in (
        (b"sqlblock snapsh\t", b"sqlblock snapshot "),
        (b"sqlblock list dis\t", b"sqlblock list disks.sqlite "),
        (b"sqlblock delete disks.sqlite weat\t",
         b"sqlblock delete disks.sqlite weather "),
        (b"sqlblock rollback disks.sqlite web@mond\t",
         b"sqlblock rollback disks.sqlite web@monday "),
        (b"sqlblock map disks.sqlite web --since=mond\t",
         b"sqlblock map disks.sqlite web --since=monday "),
        (b"sqlblock rollback disks.sqlite weat\t",
         b"sqlblock rollback disks.sqlite weather@")):
    type_and_expect(typed + show, whole)
os.write(fd, b"""cd directory
sqlblock () { if [ "$1" = --complete ]; then command sqlblock "$@"
else printf '<%s>\\n' "$3"; fi; }
""")
for typed, name in (
        (b'"a', b"a$(touch ran)"), (b"a", b"a$(touch ran)"),
        (b'"b', b"b`touch ran`"), (b"'d", b"d's; touch ran"),
        (b'"e', b"e *[x]?~!"), (b'"h', b'h&"'), (b"'i", b"i'")):
    type_and_expect(b"sqlblock delete odd.sqlite " + typed + b"\t\n", name)
if os.path.exists("directory/ran"):
    sys.exit("a name was run")
os.write(fd, b"exit\n")
EOF2
