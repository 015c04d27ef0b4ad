# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A guest with systemd and udev, to try units as they are; sourced after
# guest.sh. It has busybox beside them, and what the test adds.

# What it takes of systemd: no journal, no login.
systemd_units="sysinit.target basic.target local-fs.target local-fs-pre.target
  swap.target sockets.target timers.target paths.target slices.target
  shutdown.target umount.target network.target network-online.target
  remote-fs.target remote-fs-pre.target multi-user.target
  final.target poweroff.target systemd-poweroff.service
  systemd-udevd.service systemd-udevd-control.socket
  systemd-udevd-kernel.socket systemd-udev-trigger.service"
udev_rules="50-udev-default 60-block 60-persistent-storage 99-systemd"

need_systemd ()
{
  need_package systemd systemctl
  need_package udev udevadm
  [ -x /lib/systemd/systemd ] || skip "there is no /lib/systemd/systemd"
}

# make_systemd_tree DIRECTORY [PROGRAM...]: as make_tree. When systemd runs, it
# starts /orders by sh.
make_systemd_tree ()
{
  local dir=$1 file
  make_tree "$@"
  mkdir -p "$dir"/{sbin,usr,var/lib,run,root,etc/systemd/system}
  add_files "$dir" /lib/systemd/{systemd,systemd-shutdown} \
    /lib/systemd/system-generators/systemd-fstab-generator \
    "$(type -P systemctl)" \
    "$(type -P udevadm)" "$(type -P mount)" "$(type -P umount)" \
    "$(type -P fsck)" $(printf '/lib/systemd/system/%s ' $systemd_units) \
    $(printf '/lib/udev/rules.d/%s.rules ' $udev_rules)
  ln -s "$(type -P udevadm)" "$dir/lib/systemd/systemd-udevd"
  echo root:x:0:0::/root:/bin/sh >"$dir/etc/passwd"
  printf '%s\n' root:x:0: tty:x:5: disk:x:6: kmem:x:7: >"$dir/etc/group"
  echo 0123456789abcdef0123456789abcdef >"$dir/etc/machine-id"
  : >"$dir/etc/fstab"
  cat >"$dir/etc/systemd/system.conf" <<'END'
[Manager]
DefaultStandardOutput=null
ShowStatus=no
LogTarget=console
END
  cat >"$dir/etc/systemd/system/orders.service" <<'END'
[Service]
ExecStart=/bin/sh /orders
END
  cat >"$dir/etc/systemd/system/default.target" <<'END'
[Unit]
Requires=basic.target systemd-udev-trigger.service orders.service
END
}
