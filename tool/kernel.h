/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The kernel's NBD client, over netlink (linux/nbd-netlink.h, and
 * drivers/block/nbd.c in the kernel).
 *
 * A device /dev/nbdN gets sockets on which the handshake is over, and from then
 * on sends its requests there.  When a socket breaks, the kernel says so (link
 * dead), holds what was not answered, and sends it again on a new socket that
 * it is given in place of the dead one, as long as the dead-connection timeout
 * lasts.
 *
 *   kernel_connect ──► device ──► kernel_await_dead
 *                        ▲              │
 *                        └── kernel_replace_socket
 */

#ifndef SQLBLOCK_KERNEL_H
#define SQLBLOCK_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

struct kernel;

/* What a device is to be. */
struct kernel_device {
  int number;          /* /dev/nbdNUMBER; -1: any that is free */
  uint64_t size;       /* bytes */
  uint64_t block_size; /* bytes: a power of two from 512 to a page */
  uint64_t flags;      /* NBD_FLAG_... of the transmission */
  uint64_t answer;     /* seconds after which a request is sent again; 0: when
                          its socket was replaced */
  uint64_t dead;       /* seconds without any connection, then requests fail */
  const char *backend; /* what it is, as /sys/block/nbdN/backend has it */
  const int *sockets;
  size_t sockets_count;
};

/* Open a socket to the kernel's driver.  NULL on failure: ENODEV where there is
 * none (the module nbd is not loaded), EPERM.  Thread rules, here and below:
 * one thread.
 */
struct kernel *kernel_open (struct status *status);
void kernel_close (struct kernel *kernel);

/* Make DEVICE.  Its number goes to *NUMBER.  Returns 0, or -1: EBUSY where the
 * device is in use already.
 */
int kernel_connect (struct kernel *kernel, const struct kernel_device *device,
                    int *number, struct status *status);

/* Give device NUMBER, whose backend is BACKEND, a new SOCKET in place of one
 * that is dead; where none is, nothing happens.  Returns 0, or -1: EINVAL where
 * the device is not connected any more, or is another one.
 */
int kernel_replace_socket (struct kernel *kernel, int number,
                           const char *backend, int socket,
                           struct status *status);

/* Tell it that it has SIZE bytes now, of which it takes whole blocks. */
int kernel_resize (struct kernel *kernel, int number, const char *backend,
                   uint64_t size, struct status *status);

/* Disconnect device NUMBER: what it still has to do fails. */
int kernel_disconnect (struct kernel *kernel, int number,
                       struct status *status);

/* Wait MILLISECONDS at most for a socket of device NUMBER to break.  Returns 1,
 * 0 where none did, or a signal came, or -1.
 */
int kernel_await_dead (struct kernel *kernel, int number, int milliseconds,
                       struct status *status);

/* What device NUMBER is connected to: a new string, or NULL. */
char *kernel_backend (int number);

/* Is the device NUMBER connected, and to BACKEND? */
bool kernel_is_connected (int number, const char *backend);

#endif /* SQLBLOCK_KERNEL_H */
