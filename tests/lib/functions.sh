# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What the shell tests share; each sources it first:
#
#   . "$srcdir/lib/functions.sh"
#
# It gives a temporary directory ($tmp, also the current directory's
# place for all files), the plugin as built ($plugin, nothing needs to be
# installed), and helpers that start servers and end them again. At the
# exit every server that the test started is killed and $tmp is removed.
#
# Exit codes are automake's: 0 passed, 77 skipped, anything else failed.

set -e
set -u
set -o pipefail

: "${srcdir:=$(dirname "${BASH_SOURCE[0]}")/..}"
: "${top_builddir:=$srcdir/..}"
srcdir=$(cd "$srcdir" && pwd)
top_builddir=$(cd "$top_builddir" && pwd)

# The system's python3 has the nbd module; nbdsh runs "env python3". What
# check-with puts in front of commands goes first.
PATH=${WRAPPERS:+$WRAPPERS:}/usr/bin:/usr/sbin:/bin:/sbin:$PATH
export LC_ALL=C.UTF-8 LIBGUESTFS_BACKEND=direct

plugin=$top_builddir/plugin/.libs/nbdkit-sqlblock-plugin.so

# Short, since a unix socket's path is limited to 107 bytes.
tmp=$(mktemp -d /tmp/sqlblock-test.XXXXXX)
export tmp
started_pids=()

# "${own_mounts[@]}" COMMAND...: what the command mounts in $tmp is for it
# alone; fails where that needs root.
own_mounts=(bash "$srcdir/lib/own-mounts")

# use_memory: have $tmp in memory, if there is space for it (the tests that
# use this need at most 20 MiB).  For what syncs much and needs no disk.
use_memory ()
{
  local available
  available=$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1) || :
  if [ -w /dev/shm ] && [ "${available:-0}" -ge 60000 ]; then
    rmdir "$tmp"
    tmp=$(mktemp -d /dev/shm/sqlblock-test.XXXXXX)
  fi
}

cleanup ()
{
  local status=$?
  trap '' INT TERM
  for pid in ${started_pids[@]+"${started_pids[@]}"}; do
    kill -9 "$pid" 2>/dev/null || :
  done
  wait 2>/dev/null || :
  while mountpoint -q "$tmp" 2>/dev/null; do
    umount --lazy "$tmp" || break
  done
  rm -rf "$tmp"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

fail ()
{
  echo "$(basename "$0"): FAILED: $*" >&2
  exit 1
}

skip ()
{
  echo "$(basename "$0"): skipped: $*" >&2
  exit 77
}

# nbdkit_is VERSION: is nbdkit of this version, or newer?
nbdkit_is ()
{
  local version
  version=$(nbdkit --version)
  printf '%s\n' "$1" "${version#nbdkit }" | sort -V -C
}

# back DATABASE DISK FILE [OPTION...]: the disk, exported with these options, is
# FILE.
back ()
{
  rm -f back
  sqlblock export "$1" "$2" back "${@:4}" || fail "export $*"
  cmp "$3" back || fail "$1 $2 is not $3"
}

# can_encrypt: can the plugin, which may be built without libsodium?
can_encrypt ()
{
  nbdkit --dump-plugin "$plugin" | grep -qx sqlblock_encryption=yes
}

# need COMMAND...: skip the test when one of them is not installed.
need ()
{
  local command
  for command; do
    type -P "$command" >/dev/null || skip "$command is not installed"
  done
}

# in_own_mounts ARGUMENT...: begin again with the arguments of the test, in a
# mount namespace of its own: what is mounted in the directory $mounts ends
# with it.
in_own_mounts ()
{
  [ -z "${mounts-}" ] || return 0
  "${own_mounts[@]}" true 2>/dev/null || skip "mounting needs root"
  export srcdir top_builddir mounts=$tmp
  "${own_mounts[@]}" bash "$0" "$@"
  exit
}

# mounted_read_only DIRECTORY COMMAND...: run the command with more arguments:
# a command that has the directory mounted so, for itself only.
mounted_read_only ()
{
  local directory=$1
  shift
  cat >"$tmp/mounted" <<'EOF2'
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 99
shift
exec "$@"
EOF2
  set -- "$@" "${own_mounts[@]}" bash "$tmp/mounted" "$directory"
  if "${own_mounts[@]}" bash "$tmp/mounted" "$directory" true 2>/dev/null; then
    "$@"
  else
    echo "no read-only mount tried: mounting does not work here"
  fi
}

# expect_error TEXT COMMAND...: the command must fail, and say TEXT.
expect_error ()
{
  local text=$1
  shift
  if "$@" >"$tmp/expect.out" 2>&1; then
    fail "this was to fail: $*"
  fi
  grep -qF -- "$text" "$tmp/expect.out" || {
    cat "$tmp/expect.out" >&2
    fail "«$text» is not in the error of: $*"
  }
}

# unpack_fixture FIXTURE FILE: the database FIXTURE.sqlite.xz as FILE, with its
# log if it has one.
unpack_fixture ()
{
  xz -dc "$1.sqlite.xz" >"$2"
  [ ! -e "$1.sqlite-wal.xz" ] || xz -dc "$1.sqlite-wal.xz" >"$2-wal"
}

# fails CODE TEXT ARGUMENT...: sqlblock must end with CODE and say TEXT. It
# reads the file $fails_input, if that is set. What it prints is in the files
# out and err.
fails ()
{
  local code=$1 text=$2 got=0
  shift 2
  sqlblock "$@" >out 2>err <"${fails_input:-/dev/null}" || got=$?
  if [ "$got" != "$code" ] || ! grep -qF -- "$text" err; then
    cat err >&2
    fail "exit code $got, wanted $code and «$text»: sqlblock $*"
  fi
}

# query FILE SQL: run it with nothing of ours.
query ()
{
  python3 -c 'import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=20)
for row in database.execute(sys.argv[2]):
    print(*row)
database.commit()' "$@"
}

# change FILE SQL: the same for a database of ours; its pages get checksums
# that fit.
change ()
{
  query "$@"
  "$top_builddir/tests/seal" "$1"
}

# wait_for COMMAND...: until it succeeds, at most 20 seconds.
wait_for ()
{
  local i
  for i in $(seq 200); do
    "$@" && return
    sleep 0.1
  done
  fail "this did not happen: $*"
}

# is_receiving FILE: a disk comes into the database.
is_receiving ()
{
  [ "$(query "$1" "SELECT count (*) FROM disk
    WHERE name LIKE '%/receiving'")" = 1 ]
}

# killed_import IMAGE SIZE ARGUMENT...: sqlblock import with these arguments,
# from the pipe "fifo" into $db, is killed after SIZE bytes of the IMAGE.
killed_import ()
{
  local image=$1 size=$2 pid
  shift 2
  sqlblock import "$@" fifo &
  pid=$!
  started_pids+=("$pid")
  exec 9>fifo
  head -c "$size" "$image" >&9
  wait_for is_receiving "$db"
  kill -9 "$pid"
  wait "$pid" 2>/dev/null || :
  exec 9>&-
}

# launch_nbdkit NAME ARGUMENT...: run nbdkit until the test ends; its process
# id is in $nbdkit_pid, its log in NAME.log.  Fails when it ends before it
# serves.
launch_nbdkit ()
{
  local name=$1 i
  shift
  rm -f "$tmp/$name.pid"
  nbdkit -f -P "$tmp/$name.pid" "$@" >>"$tmp/$name.log" 2>&1 &
  nbdkit_pid=$!
  started_pids+=("$nbdkit_pid")
  for i in $(seq 300); do
    [ -s "$tmp/$name.pid" ] && return
    kill -0 "$nbdkit_pid" 2>/dev/null || break
    sleep 0.1
  done
  return 1
}

# start_nbdkit SOCKET ARGUMENT...: run nbdkit on $tmp/SOCKET.
start_nbdkit ()
{
  local name=$1
  shift
  rm -f "$tmp/$name"
  launch_nbdkit "$name" -U "$tmp/$name" "$@" || {
    cat "$tmp/$name.log" >&2
    fail "nbdkit did not start: $*"
  }
}

# await_answer SOCKET: until the plugin of the server has opened its database.
# nbdkit writes its process id before that, but takes no client.
await_answer ()
{
  nbdsh -c "h.set_opt_mode (True)" -c "h.connect_unix ('$tmp/$1')" \
    -c "h.opt_abort ()" || fail "the server of $1 does not answer"
}

# start_nbdkit_tcp ARGUMENT...: run nbdkit on a free port of the loopback,
# left in $nbdkit_port; the log is tcp.log.
start_nbdkit_tcp ()
{
  local try
  for try in $(seq 20); do
    # Below the ports that Linux gives to clients.
    nbdkit_port=$((20000 + RANDOM % 12000))
    : >"$tmp/tcp.log"
    launch_nbdkit tcp -i 127.0.0.1 -p "$nbdkit_port" "$@" && return
    grep -q "Address already in use" "$tmp/tcp.log" || break
  done
  cat "$tmp/tcp.log" >&2
  fail "nbdkit did not start: $*"
}

# kill_nbdkit [PID]: end a server as a crash would.
kill_nbdkit ()
{
  kill -9 "${1:-$nbdkit_pid}"
  wait "${1:-$nbdkit_pid}" 2>/dev/null || :
}

# stop_nbdkit [PID]: end a server as a service manager would.
stop_nbdkit ()
{
  kill -TERM "${1:-$nbdkit_pid}"
  wait "${1:-$nbdkit_pid}" 2>/dev/null || :
}

# make_files DIRECTORY: 3000 files of 1 to 9000 bytes in 30 directories.
make_files ()
{
  python3 - "$1" <<'EOF2'
import os, random, sys
random.seed(1)
for number in range(3000):
    directory = "%s/directory-%02d" % (sys.argv[1], number % 30)
    os.makedirs(directory, exist_ok=True)
    with open("%s/file-%04d" % (directory, number), "wb") as file:
        file.write(random.randbytes(random.randint(1, 9000)))
EOF2
}

# uri SOCKET [EXPORT]: the NBD URI of a server made by start_nbdkit.
uri ()
{
  echo "nbd+unix:///${2-}?socket=$tmp/$1"
}

# start_model ARGUMENT...: run model-check in the background, which knows what
# its disk must be, until end_model. Its files are in $model_directory, as
# soon as its server listens.
start_model ()
{
  local _
  mkdir "$tmp/model"
  TMPDIR=$tmp/model "$model_check" --plugin "$plugin" "$@" \
    >"$tmp/model.log" 2>&1 &
  model=$!
  started_pids+=("$model")
  for _ in $(seq 600); do
    model_directory=$(echo "$tmp"/model/*)
    [ -S "$model_directory/socket" ] &&
      { [[ $* == *--database* ]] || [ -s "$model_directory/disk.sqlite" ]; } &&
      break
    sleep 0.1
  done
}

# end_model: it must have found no difference.
end_model ()
{
  kill -USR1 "$model"
  wait "$model" || {
    cat "$tmp/model.log" >&2
    fail "the model"
  }
  tail -n +2 "$tmp/model.log"
  grep -q "differences 0" "$tmp/model.log" || fail "the model has not ended"
}
