# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Completion in bash of the command sqlblock, which itself knows what can
# stand where: see complete.c.
#
# Needs the package bash-completion. The names that begin with _sqlblock_
# share their variables: cur, words and cword as bash-completion makes them,
# typed, which is cur without quotes, and kept.

# _sqlblock_unquote WORD: the word without quotes and backslashes, as bash would
# take it; but nothing in it is expanded.
_sqlblock_unquote ()
{
  local i character quote= plain=
  for ((i = 0; i < ${#1}; i++)); do
    character=${1:i:1}
    if [[ $quote ]]; then
      if [[ $character == "$quote" ]]; then
        quote=
        continue
      fi
    elif [[ $character == [\"\'] ]]; then
      quote=$character
      continue
    fi
    if [[ $character == \\ && $quote != \' &&
      (-z $quote || ${1:i+1:1} == [\\\"\$\`]) ]]; then
      ((++i))
    fi
    plain+=${1:i:1}
  done
  printf '%s\n' "$plain"
}

# _sqlblock_kept: how much of the word is not offered, since readline keeps
# what is in front of a character that breaks words.
_sqlblock_kept ()
{
  local character before longest=
  for character in = : @; do
    before=${typed%"$character"*}$character
    if [[ $COMP_WORDBREAKS == *"$character"* && $typed == *"$character"* &&
      ${#before} -gt ${#longest} ]]; then
      longest=$before
    fi
  done
  printf '%s\n' "$longest"
}

# _sqlblock_offer WORD: as it must stand behind what is typed, so that nothing
# in it is expanded or run. An open quotation mark stays open: readline closes
# it, but not where the word ends in one. There may be thousands: no subshell.
_sqlblock_offer ()
{
  local word=$1 character
  case $cur in
    \'*) word=${word//\'/"'\''"} ;;
    \"*)
      for character in \\ \" \$ \`; do
        word=${word//"$character"/"\\$character"}
      done
      # History is expanded there, and a backslash would stay.
      word=${word//!/"\"'!'\""} ;;
    *) printf -v word %q "${word#"$kept"}" ;;
  esac
  if [[ $cur == [\"\']* && $word == *"${cur:0:1}" ]]; then
    word+=${cur:0:1}
  fi
  COMPREPLY+=("$word")
  if [[ $1 == *[=:@] ]]; then
    compopt -o nospace
  fi
}

# _sqlblock_offer_files KIND: but of databases none of those that SQLite and
# the server keep beside them. In --OPTION=FILE, the file is completed.
_sqlblock_offer_files ()
{
  local i file option=
  if [[ $cur == --*=* ]]; then
    option=${cur%%=*}=
    cur=${cur#*=}
  fi
  _filedir
  for i in "${!COMPREPLY[@]}"; do
    file=${COMPREPLY[i]}
    if [[ $1 == database && $file == *-@(lock|shm|wal) && -e ${file%-*} ]]
    then
      unset "COMPREPLY[i]"
    elif [[ $COMP_WORDBREAKS != *=* ]]; then
      COMPREPLY[i]=$option$file
    fi
  done
}

_sqlblock ()
{
  local cur prev words cword split word line typed kept asked=()
  _init_completion -n @:= || return
  typed=$(_sqlblock_unquote "$cur")
  kept=$(_sqlblock_kept)
  for word in "${words[@]:1:cword - 1}"; do
    asked+=("$(_sqlblock_unquote "$word")")
  done
  while IFS= read -r line; do
    if [[ $line == $'\t'* ]]; then
      _sqlblock_offer_files "${line#?}"
    else
      _sqlblock_offer "${line%%$'\t'*}"
    fi
  done < <("${words[0]/#\~\//$HOME/}" --complete "${asked[@]}" "$typed" \
    2>/dev/null)
}

complete -F _sqlblock sqlblock
