#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Completion in bash, zsh and fish, each as it runs on a terminal: every
# command and every option of its help is offered in all three, and disks,
# snapshots, tags, properties and files are. test-completion.sh has more about
# bash.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need python3

PATH=$top_builddir/tool:$PATH
completions=$(realpath "$srcdir/../tool")
cd "$tmp"
mkdir files zsh
cd files
db=disks.sqlite

sqlblock create -q $db web --size=1M --description="a text"
sqlblock create -q $db weather --size=1M
sqlblock create -q $db "my disk" --size=1M
sqlblock snapshot create -q $db web@monday "my disk@monday"
sqlblock snapshot create -q $db web@morning
sqlblock snapshot create -q $db "my disk@late evening"
for tag in nightly news; do
  sqlblock snapshot hold -q $db web@monday $tag
done
sqlblock set -q $db web user:owner=me
mkdir directory
touch other.sqlite other.sqlite-{lock,shm,wal}

# --- What is asked, and what is to be offered --------------------------------

# Each line: what is typed, then a tab before each word that is wanted.
questions=$tmp/questions
asks ()
{
  local line=$1 IFS=$'\t'
  shift
  printf '%s\n' "$line${*:+$IFS}$*" >>"$questions"
}

sqlblock --help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z -]*[a-z]\)  .*/\1/p' \
  >"$tmp/commands"
[ "$(wc -l <"$tmp/commands")" -gt 20 ] || fail "no commands in --help"

mapfile -t first < <(cut -d' ' -f1 "$tmp/commands" | sort -u)
for letter in {a..z}; do
  mapfile -t words < <(printf '%s\n' "${first[@]}" help | grep "^$letter")
  [ "${#words[@]}" -eq 0 ] || asks "sqlblock $letter" "${words[@]}"
done
for word in $(sed -n 's/ .*//p' "$tmp/commands" | sort | uniq -d); do
  mapfile -t words < <(sed -n "s/^$word //p" "$tmp/commands")
  asks "sqlblock $word " "${words[@]}"
done
while read -r command; do
  # The words are arguments.
  # shellcheck disable=SC2086
  mapfile -t words < <(sqlblock help $command |
    sed -nE 's/^  (-., |    )(--[a-z-]+=?).*/\2/p')
  asks "sqlblock $command $db --" "${words[@]}"
done <"$tmp/commands"

asks "sqlblock --v" --version
asks "sqlblock help snapshot ho" hold
asks "sqlblock list " $db directory/ other.sqlite
asks "sqlblock export $db web dir" directory/
asks "sqlblock delete $db we" weather web
asks "sqlblock info $db we" weather weather@ web web@
asks "sqlblock rollback $db web@" web@monday web@morning
asks "sqlblock diff $db web@monday @m" @monday @morning
asks "sqlblock diff $db @m"
asks "sqlblock map $db web --since=m" --since=monday --since=morning
asks "sqlblock map $db web --since m" monday morning
asks "sqlblock snapshot release $db web@monday n" news nightly
asks "sqlblock snapshot hold $db web@morning n" news nightly
asks "sqlblock set $db web d" dedup= description=
asks "sqlblock inherit $db web auto" auto-snapshot
asks "sqlblock set $db web dedup=" dedup=off dedup=on
asks "sqlblock set $db web --unset=" --unset=user:owner
asks "sqlblock create $db new --compression=z" --compression=zstd
asks "sqlblock delete $db my\\ d" "my disk"
asks "sqlblock info $db my\\ disk@" "my disk@late evening" "my disk@monday"
asks "sqlblock check $db --salvage=other.sqlite-w" --salvage=other.sqlite-wal
asks "sqlblock check $db --salvage=d" --salvage=$db --salvage=$db-lock \
  --salvage=directory/
asks "sqlblock -q del" delete
asks "sqlblock nonsense $db "
asks "sqlblock delete nothing.sqlite "
asks "sqlblock info \$(touch ran) web@"

# --- The shells --------------------------------------------------------------

ln -s "$completions/completion.zsh" "$tmp/zsh/_sqlblock"
cat >"$tmp/zsh/.zshrc" <<'EOF2'
fpath=($ZDOTDIR $fpath)
autoload -Uz compinit
compinit -u -D
setopt no_auto_list no_beep

# What would be offered is only noted.
compadd ()
{
  local -a found
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
    builtin compadd "$@"
    return
  fi
  builtin compadd -A found "$@"
  hits+=($found)
}
ask ()
{
  typeset -ga hits=()
  BUFFER=$(<../question) CURSOR=$#BUFFER
  zle complete-word
  BUFFER=
  print -rl -- $hits >../answer.new
  command mv ../answer.new ../answer
}
zle -N ask
bindkey '^T' ask
EOF2

cat >"$tmp/bashrc" <<EOF2
. /usr/share/bash-completion/bash_completion
. $(printf %q "$completions/completion.bash")
EOF2
cat >>"$tmp/bashrc" <<'EOF2'
bind '"\C-t": insert-completions'
answer ()
{
  printf '%s\n' "$@" >../answer.new
  mv ../answer.new ../answer
}
PS1=
EOF2

cat >"$tmp/ask.py" <<'EOF2'
import os, pty, subprocess, sys, threading, time

shell, tmp, completions = sys.argv[1:]

def start(*command):
    """On a terminal whose output nobody looks at."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "dumb"
        os.execvp(command[0], command)
    def read():
        try:
            while os.read(fd, 4096):
                pass
        except OSError:
            pass
    threading.Thread(target=read, daemon=True).start()
    return fd

def answer(line):
    deadline = time.time() + 60
    while not os.path.exists("../answer"):
        if time.time() > deadline:
            sys.exit("it does not answer to «%s»" % line)
        time.sleep(0.002)
    words = open("../answer").read().split("\n")
    os.unlink("../answer")
    return words

def zsh():
    os.environ["ZDOTDIR"] = tmp + "/zsh"
    fd = start("zsh", "-i")
    def ask(line):
        with open("../question", "w") as file:
            file.write(line)
        os.write(fd, b"\x14")
        return answer(line)
    return ask

def bash():
    """It puts all into the line, which is made another command."""
    os.environ["INPUTRC"] = "/dev/null"
    fd = start("bash", "--noprofile", "--rcfile", tmp + "/bashrc", "-i")
    def ask(line):
        before = line[:len(line) - len(typed(line))]
        os.write(fd, line.encode() + b"\x14\x01answer \x05\n")
        words = answer(line)[before.replace("\\ ", "_").count(" "):]
        return [] if words[:-1] == [typed(line)] else words
    return ask

def fish():
    def ask(line):
        return [row.split("\t")[0] for row in subprocess.run(
            ["fish", "--no-config", "-c",
             "source %s/completion.fish; complete --do-complete $argv[1]"
             % completions, line], stdout=subprocess.PIPE, check=True,
            text=True).stdout.split("\n")]
    return ask

def typed(line):
    """The last word."""
    return line.replace("\\ ", "_").split(" ")[-1]

def bare(line, words):
    """Some shells offer only what stands behind "=", the "/" of a directory
    comes later, and zsh quotes."""
    option = typed(line)[:typed(line).find("=") + 1]
    return sorted({word.removeprefix(option).removesuffix("/")
                   .replace("\\ ", " ") for word in words} - {""})

ask = {"bash": bash, "fish": fish, "zsh": zsh}[shell]()
count = 0
for row in open(tmp + "/questions"):
    line, *wanted = row.rstrip("\n").split("\t")
    if "$(" in line and shell == "bash":
        continue # it would be run by the test
    got = bare(line, ask(line))
    if got != bare(line, wanted):
        sys.exit("«%s» offers %s, not %s" % (line, got, bare(line, wanted)))
    count += 1
print("%s: %d lines were completed" % (shell, count))
EOF2

missing=
for shell in bash zsh fish; do
  if ! type -P $shell >/dev/null ||
    [ $shell = bash -a ! -e /usr/share/bash-completion/bash_completion ]; then
    missing+=" $shell"
    continue
  fi
  python3 "$tmp/ask.py" $shell "$tmp" "$completions" || fail "$shell"
done
[ ! -e ran ] || fail "completion ran what was typed"
[ -z "$missing" ] || skip "not installed, or without completion:$missing"
