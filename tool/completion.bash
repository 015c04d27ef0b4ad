# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Completion in bash of the command sqlblock.
#
# It knows nothing about the commands but what they say themselves: "sqlblock
# --help" lists them, "sqlblock COMMAND --help" its arguments and options,
# and "sqlblock list --names" the disks and snapshots of the file. A word
# of the usage line tells what to complete: DATABASE and FILE are files, DISK
# a disk, DISK@SNAPSHOT a snapshot, DISK[@SNAPSHOT] either.
#
# Needs the package bash-completion. The names that begin with _sqlblock_
# share their variables: cur, prev, words and cword as bash-completion makes
# them; tool, command, usage (its help), operands and database.

# _sqlblock_commands: each command on a line, such as "snapshot create".
_sqlblock_commands ()
{
  "$tool" --help 2>/dev/null | sed -n '/^Commands:/,/^$/ {
    s/^  \([a-z]\{1,\}\( [a-z]\{1,\}\)\{0,1\}\)  .*/\1/p
  }'
}

# _sqlblock_full WORD: what the word stands for, if it is a short name.
_sqlblock_full ()
{
  "$tool" --help 2>/dev/null | word=$1 awk '
    /^Short names:/ {
      for (i = 3; i < NF; i += 3)
        if ($i == ENVIRON["word"]) { full = $(i + 2); sub (/[,.]$/, "", full) }
    }
    END { print full == "" ? ENVIRON["word"] : full }'
}

# _sqlblock_names OPTION...: disks, with --all also snapshots.
_sqlblock_names ()
{
  "$tool" list --names "$@" -- "$database" 2>/dev/null
}

# _sqlblock_snapshots DISK: the names of its snapshots.
_sqlblock_snapshots ()
{
  _sqlblock_names --all |
    disk=$1 awk -F @ '$1 == ENVIRON["disk"] && NF == 2 { print $2 }'
}

# _sqlblock_tags DISK@SNAPSHOT: of its holds.
_sqlblock_tags ()
{
  "$tool" info -- "$database" "$1" 2>/dev/null |
    sed -n 's/^held by: *\(.*\), since [^,]*$/\1/p'
}

# _sqlblock_unquote WORD: the word without quotes and backslashes.
_sqlblock_unquote ()
{
  local word=${1#[\"\']}
  printf '%s\n' "${word//\\/}"
}

# _sqlblock_offer: of the lines on standard input those that begin with cur
# become COMPREPLY, quoted as they must be.
_sqlblock_offer ()
{
  local name typed
  typed=$(_sqlblock_unquote "$cur")
  while IFS= read -r name; do
    [[ $name == "$typed"* ]] || continue
    if [[ $cur == [\"\']* ]]; then
      COMPREPLY+=("$name")
      continue
    fi
    # readline keeps what is in front of a character that breaks words.
    if [[ $COMP_WORDBREAKS == *@* && $typed == *@* ]]; then
      name=${name#"${typed%@*}@"}
    fi
    COMPREPLY+=("$(printf '%q' "$name")")
  done
}

# _sqlblock_complete_name KIND: a name of the kind that the word KIND of
# the usage means. Snapshots, of which there may be many, come after "@".
_sqlblock_complete_name ()
{
  local kind=$1 typed
  typed=$(_sqlblock_unquote "$cur")
  case $kind:$typed in
    *@SNAPSHOT*:@*)
      _sqlblock_offer < <(_sqlblock_snapshots "${operands[1]%%@*}" |
        sed 's/^/@/')
      ;;
    *@SNAPSHOT*:*@*) _sqlblock_offer < <(_sqlblock_names --all) ;;
    *\[@SNAPSHOT*)
      _sqlblock_offer < <(_sqlblock_names | sed 'p; s/$/@/')
      compopt -o nospace
      ;;
    *@SNAPSHOT*)
      _sqlblock_offer < <(_sqlblock_names | sed 's/$/@/')
      compopt -o nospace
      ;;
    *) _sqlblock_offer < <(_sqlblock_names) ;;
  esac
}

# _sqlblock_complete_database: a file, but none of those that SQLite and the
# server keep beside it.
_sqlblock_complete_database ()
{
  local i file
  _filedir
  for i in "${!COMPREPLY[@]}"; do
    file=${COMPREPLY[i]}
    case $file in
      *-lock | *-shm | *-wal)
        if [ -e "${file%-*}" ]; then
          unset "COMPREPLY[i]"
        fi
        ;;
    esac
  done
}

# _sqlblock_options: each option on a line; those with an argument end with
# "=", and after that its name.
_sqlblock_options ()
{
  sed -n 's/^ \{2,6\}\(-., \)\{0,1\}\(--[a-z-]*=\{0,1\}[A-Z]*\).*/\1\2/p' \
    <<<"$usage"
}

# _sqlblock_complete_option: the word is the beginning of an option.
_sqlblock_complete_option ()
{
  _sqlblock_offer < <(_sqlblock_options | sed 's/^-., //; s/=.*/=/')
  if [[ ${COMPREPLY[*]} == *= ]]; then
    compopt -o nospace
  fi
}

# _sqlblock_argument OPTION: the name of the argument of -o or --option,
# nothing if it has none.
_sqlblock_argument ()
{
  local option
  while IFS= read -r option; do
    case $option in
      "$1, "*=* | "$1="* | -?", $1="*) printf '%s\n' "${option#*=}" ;;
    esac
  done < <(_sqlblock_options)
}

# _sqlblock_properties: what "set" takes, each as KEY=WHAT on a line; of
# "user:KEY=" people make the rest up.
_sqlblock_properties ()
{
  sed -n 's/^  \([a-z]\{1,\}[:=][^ ]*\).*/\1/p' <<<"$usage"
}

# _sqlblock_complete_property: KEY= or, behind that, its value. "=" breaks
# words in most shells, and then readline keeps what is in front of it.
_sqlblock_complete_property ()
{
  local key=${cur%%=*} line what= i
  if [[ $cur != *=* ]]; then
    [[ $cur == *:* ]] ||
      _sqlblock_offer < <(_sqlblock_properties | sed 's/[A-Z]*=.*/=/; s/:=/:/')
    compopt -o nospace
    return
  fi
  cur=${cur#*=}
  # A key of people may have any characters.
  while IFS= read -r line; do
    if [[ $line == "$key"=* ]]; then
      what=${line#*=}
    fi
  done < <(_sqlblock_properties)
  _sqlblock_complete_value "$what"
  if [[ $COMP_WORDBREAKS != *=* ]]; then
    for i in "${!COMPREPLY[@]}"; do
      COMPREPLY[i]=$key=${COMPREPLY[i]}
    done
  fi
}

# _sqlblock_compressions: their names, each on a line.
_sqlblock_compressions ()
{
  sed -n 's/.*\(none, .*\) or [a-z0-9]*:LEVEL.*/\1/p' <<<"$usage" |
    tr -s ', ' '\n'
}

# _sqlblock_titles: those of the columns of a list, each on a line.
_sqlblock_titles ()
{
  sed -n '/^Columns: /,/\./ { s/^Columns: //; s/\..*//; p; }' <<<"$usage" |
    tr -s ' ' '\n' | tr '[:upper:]' '[:lower:]'
}

# _sqlblock_complete_titles: the last of those that are typed, which have
# commas between them.
_sqlblock_complete_titles ()
{
  local before= title
  if [[ $cur == *,* ]]; then
    before=${cur%,*},
  fi
  while IFS= read -r title; do
    if [[ $before$title == "$cur"* ]]; then
      COMPREPLY+=("$before$title")
    fi
  done < <(_sqlblock_titles)
}

# _sqlblock_complete_value ARGUMENT: what an option or a property is given.
_sqlblock_complete_value ()
{
  case $1 in
    HOW) _sqlblock_offer < <(_sqlblock_compressions) ;;
    "on|off") _sqlblock_offer < <(printf '%s\n' on off) ;;
    "SIZE|none") _sqlblock_offer <<<none ;;
    SNAPSHOT)
      _sqlblock_offer < <(_sqlblock_snapshots "${operands[1]%%@*}")
      ;;
    TITLE) _sqlblock_offer < <(_sqlblock_titles) ;;
    TITLES) _sqlblock_complete_titles ;;
    WHEN) _sqlblock_offer < <(printf '%s\n' always auto never) ;;
    FILE) _filedir ;;
    DIRECTORY) _filedir -d ;;
    DISK) _sqlblock_offer < <(_sqlblock_names) ;;
  esac
}

# _sqlblock_read_words FIRST: the operands among the words from FIRST to the
# one that is completed.
_sqlblock_read_words ()
{
  local i argument
  operands=()
  for ((i = $1; i < cword; i++)); do
    case ${words[i]} in
      --*=*) ;;
      -*)
        argument=$(_sqlblock_argument "${words[i]}")
        if [ -n "$argument" ]; then
          i=$((i + 1))
        fi
        ;;
      *) operands+=("$(_sqlblock_unquote "${words[i]%[\"\']}")") ;;
    esac
  done
}

# _sqlblock_complete_operand: the next operand, by the word of the usage
# line that stands in its place; the last may stand for several.
_sqlblock_complete_operand ()
{
  local kinds kind
  read -ra kinds <<<"${usage#"Usage: sqlblock $command "}"
  unset "kinds[${#kinds[@]} - 1]" # [OPTION]...
  kind=${kinds[${#operands[@]}]-}
  if [[ -z $kind && ${kinds[*]} == *...?(\]) ]]; then
    kind=${kinds[${#kinds[@]} - 1]}
  fi
  case $command:$kind in
    create:DISK | *:--*) ;;
    "snapshot create":DISK*)
      _sqlblock_complete_name DISK
      COMPREPLY=("${COMPREPLY[@]/%/@}")
      compopt -o nospace
      ;;
    "snapshot delete":DISK*)
      if [[ " ${words[*]} " == *" --all "* || " ${words[*]} " == *" -a "* ]]
      then
        kind=DISK
      fi
      _sqlblock_complete_name "$kind"
      ;;
    "snapshot release":TAG)
      _sqlblock_offer < <(_sqlblock_tags "${operands[1]}")
      ;;
    *DATABASE*) _sqlblock_complete_database ;;
    *PROPERTY*) _sqlblock_complete_property ;;
    *FILE*) _filedir ;;
    *DISK*) _sqlblock_complete_name "$kind" ;;
  esac
}

# _sqlblock_complete_command WORD: the second word of a command whose first
# is WORD; nothing: the first.
_sqlblock_complete_command ()
{
  if [ -n "$1" ]; then
    _sqlblock_offer < <(_sqlblock_commands |
      first=$1 awk '$1 == ENVIRON["first"] && $2 { print $2 }')
  else
    _sqlblock_offer < <(_sqlblock_commands | cut -d' ' -f1 | uniq)
  fi
}

# _sqlblock_complete_argument FIRST: an option or an operand, behind the
# words of the command, of which the first is words[FIRST].
_sqlblock_complete_argument ()
{
  local usage operands database argument
  read -ra operands <<<"$command"
  usage=$("$tool" help "${operands[@]}" 2>/dev/null) || return
  _sqlblock_read_words $(($1 + ${#operands[@]}))
  database=${operands[0]/#\~\//$HOME/}
  argument=$(_sqlblock_argument "$prev")
  if [ -n "$argument" ]; then
    _sqlblock_complete_value "$argument"
  elif [[ $cur == -* ]]; then
    _sqlblock_complete_option
  else
    _sqlblock_complete_operand
  fi
}

_sqlblock ()
{
  local cur prev words cword split tool command first=1
  _init_completion -s -n @:= || return
  tool=${words[0]/#\~\//$HOME/}

  while [[ ${words[first]} == -* ]] && ((cword > first)); do
    first=$((first + 1))
  done
  if [ "${words[1]}" = help ] && ((cword > 1)); then
    first=2
  fi
  command=$(_sqlblock_full "${words[first]}")
  if ((cword == first)); then
    _sqlblock_complete_command ""
    if [ "$first" = 1 ]; then
      _sqlblock_offer < <(printf '%s\n' help --help --version)
    fi
  elif grep -qxF -- "$command" < <(_sqlblock_commands); then
    [ "${words[1]}" = help ] || _sqlblock_complete_argument "$first"
  elif ((cword == first + 1)); then
    _sqlblock_complete_command "$command"
  elif [ "${words[1]}" != help ]; then
    command+=" $(_sqlblock_full "${words[first + 1]}")"
    _sqlblock_complete_argument "$first"
  fi
}

complete -F _sqlblock sqlblock
