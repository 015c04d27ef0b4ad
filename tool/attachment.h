/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is attached: a file for each device, in a directory that root alone can
 * write, so that a supervisor which comes after one that was killed goes on,
 * and "attached" and "detach" know what there is.
 *
 *   /run/sqlblock-attached/nbd0.json    what this is about, and how it is
 *                          nbd0.lock    held by the supervisor while it lives
 *                          nbd0.sock    of a server of its own, its
 *                          nbd0.pid     process, and what that
 *                          nbd0.log     says
 *
 * The directory goes with the boot, as the devices do.
 */

#ifndef SQLBLOCK_ATTACHMENT_H
#define SQLBLOCK_ATTACHMENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/lineage.h"
#include "status.h"

/* Where these files are; the variable is for tests. */
#define ATTACHMENT_DIRECTORY          "/run/sqlblock-attached"
#define ATTACHMENT_DIRECTORY_VARIABLE "SQLBLOCK_ATTACHED"

#define ATTACHMENT_CONNECTIONS_MAX 16

#define ATTACHMENT_TOKEN 32

enum attachment_state {
  ATTACHMENT_CONNECTED, /* as far as its supervisor knows */
  ATTACHMENT_AWAY,      /* requests wait for the server */
  ATTACHMENT_FAILED,    /* all requests fail; why, `reason` says */
};

struct attachment {
  int number; /* of /dev/nbdNUMBER */
  /* Of whom: an absolute path of a file and DISK[@SNAPSHOT], with a server of
   * its own; or a URI, and the others are NULL.
   */
  char *database, *disk, *uri;
  char *key; /* a parameter of its own server: the file of the key; or NULL */
  unsigned connections; /* at most, and once it is attached, that it has */
  /* By what the server knows its connections, to fence off those that are
   * older: "" where it cannot (plugin/fence.h).
   */
  char token[ATTACHMENT_TOKEN + 1];
  uint64_t generation;
  uint64_t sockets[ATTACHMENT_CONNECTIONS_MAX]; /* inodes of TCP's, or 0 */
  int64_t timeout; /* seconds without a server; 0: for ever */
  int64_t since;   /* seconds since 1970 */
  uint64_t reconnects;
  enum attachment_state state;
  char *reason; /* or NULL */
  uint64_t size;
  uint64_t flags;      /* NBD_FLAG_... that the kernel has of it */
  uint64_t block_size; /* bytes */
  bool readonly;
  bool durable; /* of its own server: all is synced that is acknowledged */
  bool trusts;  /* it is connected again whatever the server has then */
  bool tells;   /* the server tells what it has; the last that it told: */
  struct lineage lineage;
};

/* Its state as a word. */
const char *attachment_state (const struct attachment *attachment);

/* How the kernel has it: "sqlblock FILE", a tab, which no name has, and DISK;
 * or "sqlblock URI"; a new string.
 */
char *attachment_backend (const struct attachment *attachment);

/* The name of the file of device NUMBER that ends with SUFFIX; a new string. */
char *attachment_file (int number, const char *suffix);

/* Wait until nobody else attaches: who does looks what there is, and then adds
 * to it.  Returns a descriptor, or -1: EINTR where a signal came.
 */
int attachment_turn (struct status *status);

/* Lock device NUMBER, as its supervisor.  Returns a descriptor, or -1: EBUSY
 * where its supervisor lives.
 */
int attachment_lock (int number, struct status *status);

/* Write, read and remove.  Reading gives 1, 0 where there is none, -1. */
int attachment_save (const struct attachment *attachment,
                     struct status *status);
int attachment_load (int number, struct attachment *attachment,
                     struct status *status);
void attachment_remove (int number);
void attachment_free (struct attachment *attachment);

/* Call FOUND for the number of each that there is, in order. */
void attachment_each (int (*found) (int number, void *opaque), void *opaque);

/* Who has locked it, 0 where nobody has. */
pid_t attachment_supervisor (int number);

/* The process of the server of its own, or 0 where that is gone. */
pid_t attachment_server (int number);

/* Does that run, and are its last arguments ARGUMENTS, up to NULL? */
bool attachment_server_has (int number, const char *const arguments[]);

#endif /* SQLBLOCK_ATTACHMENT_H */
