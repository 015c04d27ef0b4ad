/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* libnbd, loaded when a command needs it.
 *
 * The library brings a dozen others (TLS, URIs), which take longer to load than
 * most commands run; and whoever needs none of this can do without it.
 */

#ifndef SQLBLOCK_NBD_LIBRARY_H
#define SQLBLOCK_NBD_LIBRARY_H

#ifdef HAVE_LIBNBD

#include <libnbd.h>

#include "status.h"

/* The functions that are used. */
#define EACH_LIBNBD_FUNCTION(F)                                                \
  F (add_meta_context)                                                         \
  F (aio_block_status)                                                         \
  F (aio_command_completed)                                                    \
  F (aio_connect_socket)                                                       \
  F (aio_connect_uri)                                                          \
  F (aio_disconnect)                                                           \
  F (aio_flush)                                                                \
  F (aio_get_fd)                                                               \
  F (aio_is_connecting)                                                        \
  F (aio_is_negotiating)                                                       \
  F (aio_is_ready)                                                             \
  F (aio_opt_go)                                                               \
  F (aio_pread)                                                                \
  F (aio_pwrite)                                                               \
  F (aio_zero)                                                                 \
  F (can_flush)                                                                \
  F (can_fua)                                                                  \
  F (can_meta_context)                                                         \
  F (can_multi_conn)                                                           \
  F (can_trim)                                                                 \
  F (can_zero)                                                                 \
  F (close)                                                                    \
  F (create)                                                                   \
  F (get_block_size)                                                           \
  F (get_errno)                                                                \
  F (get_error)                                                                \
  F (get_export_description)                                                   \
  F (get_export_name)                                                          \
  F (get_size)                                                                 \
  F (get_tls_negotiated)                                                       \
  F (is_read_only)                                                             \
  F (is_rotational)                                                            \
  F (poll)                                                                     \
  F (set_export_name)                                                          \
  F (set_full_info)                                                            \
  F (set_opt_mode)                                                             \
  F (set_request_structured_replies)                                           \
  F (set_strict_mode)                                                          \
  F (set_uri_allow_local_file)

struct libnbd {
#define LIBNBD_MEMBER(name) __typeof__ (nbd_##name) *name;
  EACH_LIBNBD_FUNCTION (LIBNBD_MEMBER)
};

/* They are there once libnbd_load has returned 0, and not -1 with ENOTSUP. */
extern struct libnbd nbd;
int libnbd_load (struct status *status);

/* Say what the library says of a failure; returns -1. */
int libnbd_fail (const char *doing, struct status *status);

#endif /* HAVE_LIBNBD */

#endif /* SQLBLOCK_NBD_LIBRARY_H */
