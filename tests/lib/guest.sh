# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What the tests with a real kernel share; sourced after functions.sh.
#
# A guest is a Linux kernel in qemu, always in software emulation: that
# works everywhere, and a KVM that is there but hangs would not be noticed.
# The kernel and its modules are those installed on this machine; the rest
# is a small initramfs with busybox and a few real tools in /tools. The
# guest runs one shell script and then powers off.
#
# The guest has two serial lines. The first is its console, kept in a log.
# The second is a conversation with the test, line by line: in the guest,
# "host COMMAND ARGUMENT..." runs the test's function host_COMMAND and
# prints what that leaves in $reply. The last line, "result STATUS", tells
# how the script ended. A guest that does not say "result 0" has failed,
# whatever else it did.

guest_modules="virtio_pci virtio_net virtio_blk nbd ext4 vfat minix"
# Which of these are needed, and exist, depends on the kernel.
guest_extra_modules="crc32c_generic nls_cp437 nls_ascii"

# A PC without anything that is not asked for; a panic ends it.
guest_machine=(-accel tcg -m 256 -nodefaults -display none -no-reboot)

# need_guest: skip the test unless a guest can be made here. Leaves the
# kernel's path in $guest_kernel, its modules, in order, in $guest_insmod.
need_guest ()
{
  local lib version kernel
  [ "$(uname -m)" = x86_64 ] || skip "this machine's kernel is not for a PC"
  need_package qemu-system-x86 qemu-system-x86_64
  need_package busybox-static busybox
  need_package cpio cpio
  need_package kmod modprobe
  for lib in /lib/modules/*/; do
    version=$(basename "$lib")
    for kernel in "/boot/vmlinuz-$version" "${lib}vmlinuz"; do
      [ -r "$kernel" ] && find_guest_modules "$version" || continue
      guest_kernel=$kernel
      return
    done
  done
  skip "no readable kernel that has the modules $guest_modules" \
    "(the package linux-image-amd64)"
}

# need_attach: skip the test unless "sqlblock attach" works. Leaves the path of
# the library that it loads in $libnbd.
need_attach ()
{
  libnbd=$(ldconfig -p | awk '$1 == "libnbd.so.0" && !seen++ { print $NF }')
  [ "$libnbd" ] || skip "there is no libnbd.so.0"
  grep -q "define HAVE_ATTACH 1" "$top_builddir/config.h" ||
    skip "sqlblock was built without libnl"
}

# need_package PACKAGE COMMAND...: need, naming Debian's package.
need_package ()
{
  local package=$1 command
  shift
  for command; do
    type -P "$command" >/dev/null ||
      skip "$command is not installed (the package $package)"
  done
}

# find_guest_modules VERSION: the module files to load, in their order, to
# $guest_insmod. Fails when the kernel lacks one of $guest_modules.
find_guest_modules ()
{
  local files module
  files=$(modprobe -S "$1" --show-depends -a $guest_modules 2>/dev/null) ||
    return
  for module in $guest_extra_modules; do
    files+=$'\n'$(modprobe -S "$1" --show-depends "$module" 2>/dev/null) || :
  done
  guest_insmod=$(awk '$1 == "insmod" && !seen[$2]++ { print $2 }' \
    <<<"$files")
}

# make_tree DIRECTORY [PROGRAM...]: a root directory with busybox and, in
# /tools, the programs, with the libraries that they need.
make_tree ()
{
  local dir=$1 program
  shift
  mkdir -p "$dir"/{bin,tools,proc,sys,dev,tmp,mnt,modules}
  cp -L "$(type -P busybox)" "$dir/bin/busybox"
  ln -s busybox "$dir/bin/sh"
  for program; do
    cp -L "$(type -P "$program")" "$dir/tools/"
  done
  add_libraries "$dir" "$dir"/bin/* "$dir"/tools/*
}

# add_libraries DIRECTORY PROGRAM...: to a tree, those that they need.
add_libraries ()
{
  local dir=$1 program library
  shift
  for program; do
    # Of a static program, or what is none, ldd names none.
    for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*'); do
      mkdir -p "$dir${library%/*}"
      cp -L "$library" "$dir$library"
    done
  done
}

# add_files DIRECTORY FILE...: to a tree, with their paths and libraries.
add_files ()
{
  local dir=$1 file
  shift
  for file; do
    mkdir -p "$dir${file%/*}"
    cp -L "$file" "$dir$file"
  done
  add_libraries "$dir" "$@"
}

# make_initrd FILE TREE: pack TREE as an initramfs, with the modules and
# a file /init made of guest_prelude and standard input.
make_initrd ()
{
  local file=$1 tree=$2 module name
  for module in $guest_insmod; do
    name=$(basename "$module")
    name=${name%%.ko*}.ko
    case $module in
      *.ko) cat "$module" ;;
      *.gz) gzip -dc "$module" ;;
      *.xz) xz -dc "$module" ;;
      *.zst) zstd -qdc "$module" ;;
    esac >"$tree/modules/$name"
    echo "/modules/$name"
  done >"$tree/modules/list"
  { guest_prelude; cat; } >"$tree/init"
  chmod 755 "$tree/init"
  (cd "$tree" && find . | cpio --quiet -o -H newc -R 0:0) >"$file"
}

# guest_prelude: how each /init starts. When it exits, the guest is off.
guest_prelude ()
{
  cat <<'EOF'
#!/bin/busybox sh
set -e
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1

host ()
{
  echo "$*" >&3
  read -t 60 -r answer <&3
  echo "$answer"
}
EOF
  guest_finish
  cat <<'EOF'

# One that this processor does not need refuses, and is not missed.
while read -r module; do
  insmod "$module" || :
done </modules/list
EOF
}

# guest_finish: the end of the guest's script, on the line opened as 3.
guest_finish ()
{
  cat <<'EOF'

finish ()
{
  status=$?
  echo "GUEST-RESULT: $status"
  echo "result $status" >&3
  sync
  poweroff -f
}
trap finish EXIT
EOF
}

# run_guest SECONDS INITRD LOG [QEMU-ARGUMENT...]: boot, answer what the
# guest asks, wait until it is off. Fails unless the guest's result is 0.
run_guest ()
{
  local seconds=$1 initrd=$2 log=$3 result pid to_guest from_guest
  shift 3
  rm -f "$tmp/to-guest" "$tmp/from-guest"
  mkfifo "$tmp/to-guest" "$tmp/from-guest"
  qemu-system-x86_64 "${guest_machine[@]}" \
    -kernel "$guest_kernel" -initrd "$initrd" \
    -append "console=ttyS0 quiet panic=-1" \
    -serial "file:$log" \
    -chardev stdio,id=test,signal=off -serial chardev:test "$@" \
    <"$tmp/to-guest" >"$tmp/from-guest" 2>"$log.qemu" &
  pid=$!
  started_pids+=("$pid")
  exec {to_guest}>"$tmp/to-guest" {from_guest}<"$tmp/from-guest"
  answer_guest $((SECONDS + seconds))
  exec {to_guest}>&- {from_guest}<&-
  wait "$pid" || :
  cat "$log.qemu" "$log"
  [ "$result" = 0 ] || fail "the guest ended with this result: $result"
}

# answer_guest END: run_guest's conversation, with run_guest's variables,
# until qemu has ended or $SECONDS is END.
answer_guest ()
{
  local end=$1 command arguments status reply
  result="none, it did not come to its end"
  while
    status=0
    read -r -u "$from_guest" -t $((end > SECONDS ? end - SECONDS : 1)) \
      command arguments || status=$?
    [ "$status" = 0 ]
  do
    if [ "$command" = result ]; then
      result=$arguments
    else
      reply=
      # A list of words.
      "host_$command" $arguments
      echo "$reply" >&"$to_guest"
    fi
  done
  # Above 128 it is read's time that is over, else the end of qemu's output.
  if [ "$status" -gt 128 ]; then
    result="none, it took too long"
    kill -9 "$pid"
  fi
}
