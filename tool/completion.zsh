#compdef sqlblock
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Completion in zsh of the command sqlblock, which itself knows what can
# stand where: see complete.c.

# _sqlblock_files KIND: but of databases none of those that SQLite and the
# server keep beside them. In --OPTION=FILE, the file is completed.
_sqlblock_files ()
{
  [[ $PREFIX != --*=* ]] || compset -P '*='
  if [[ $1 == database ]]; then
    _files -F '*-(lock|shm|wal)'
  else
    _files
  fi
}

# What goes on, such as "web@", gets no space behind it.
_sqlblock ()
{
  local line word text files=
  local -a whole whole_texts open open_texts lines
  lines=("${(@f)$("${(Q)words[1]/#\~\//$HOME/}" --complete \
    "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
  for line in $lines; do
    word=${line%%$'\t'*} text=${line#*$'\t'}
    [[ -z $text ]] || text="$word -- $text"
    if [[ -z $word ]]; then
      files=${line#?}
    elif [[ $word == *[=:@] ]]; then
      open+=("$word") open_texts+=("${text:-$word}")
    else
      whole+=("$word") whole_texts+=("${text:-$word}")
    fi
  done
  [[ -z $files ]] || _sqlblock_files $files
  compadd -l -d open_texts -S '' -a open
  compadd -l -d whole_texts -a whole
}

_sqlblock "$@"
