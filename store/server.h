/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a server does beside requests: one face for the threads that take
 * snapshots by schedule, give space back, check slowly, seal pages and write
 * statistics.
 *
 *   server_start ──► the store is opened, then the threads start
 *       disk_open (server_store (server), ...), requests, disk_close
 *   server_stop  ──► the threads end, then the store is closed
 */

#ifndef SQLBLOCK_SERVER_H
#define SQLBLOCK_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/schedule.h"
#include "store.h"

/* A program that is called before and after automatic snapshots (hook.h). */
struct hook_options {
  const char *program; /* NULL: none */
  int64_t timeout;     /* seconds that it may take each time */
};

/* How long that is where nobody says it. */
#define HOOK_TIMEOUT_DEFAULT 30

/* The schedule of automatic snapshots.  What a server is told holds for all of
 * its disks; else each goes by its settings (settings.h).
 */
struct history_options {
  bool off;                   /* take none, whatever the settings say */
  int64_t interval;           /* seconds between snapshots; 0: by settings */
  struct schedule_rules keep; /* none: by settings */
  const char *disk;           /* NULL: all */
  struct hook_options hook;
  /* Takes lines for the server's log; server_start sets it. */
  void (*warn) (const char *message);
};

/* Giving free pages back. */
struct tidy_options {
  bool shrink;   /* do it */
  uint64_t keep; /* bytes of them that stay; UINT64_MAX: as tidy.h says */
  void (*warn) (const char *message); /* server_start sets it */
};

struct server_options {
  struct store_options store; /* with its warn, which all threads use */
  struct tidy_options tidy;
  struct history_options history;
  int64_t scrub_period;   /* seconds in which all is checked once; 0: never */
  const char *statistics; /* the name of a file for Prometheus, or NULL; */
  const char *name;       /* that of the server, told in it, or NULL */
  const char *control;    /* the name of a socket (control.h), or NULL */
};

/* Check that FILE can be written for Prometheus, and is neither the database
 * PATH or a part of it, nor something else that would be overwritten.  Changes
 * nothing.  Returns 0, or -1.
 */
int server_check_statistics (const char *file, const char *path,
                             struct status *status);

/* Check that the socket CONTROL can be made, where no server is already, and is
 * neither the database PATH or a part of it nor the file STATISTICS, which may
 * be NULL.  Changes nothing.  Returns 0, or -1.
 */
int server_check_control (const char *control, const char *path,
                          const char *statistics, struct status *status);

/* Check that PROGRAM can be called as a hook.  Returns 0, or -1. */
int server_check_hook (const char *program, struct status *status);

/* Open the database PATH and start the threads.  What OPTIONS points to
 * outlives the server.  Returns NULL on failure, with nothing left.
 */
struct server *server_start (const char *path,
                             const struct server_options *options,
                             struct status *status);

/* End the threads and close the store; waiting for other programs ends at
 * once.  All disks are closed.  Thread rules: while nothing else uses it.
 */
void server_stop (struct server *server);

/* Who is at a server. */
struct server_client {
  bool command; /* at the control socket; else a client of NBD, which has */
  char target[DISK_TARGET_MAX + 1]; /* this disk or snapshot open */
  bool write;                       /* also to write */
  int64_t since;                    /* seconds since 1970, UTC */
  int64_t process, user;            /* -1: not known */
  char address[128];                /* "192.0.2.7:4711"; "": not known */
  char doing[64];                   /* the call that a command makes, or "" */
};

/* One has come; what tells of it until server_leave, or NULL where there is no
 * memory.  Thread rules: any thread.
 */
struct server_place *server_enter (struct server *server,
                                   const struct server_client *client);
void server_leave (struct server_place *place);

/* Ask the server that has STORE open (option control) who is at it. */
struct server_report {
  int64_t process, user; /* of the server, */
  char host[65];         /* on this machine */
  char version[32];
  int64_t since; /* seconds since 1970, UTC */
  const struct server_client *clients;
  size_t count;
};
int server_ask (struct store *store, struct server_report *report,
                struct status *status);
void server_report_free (struct server_report *report);

/* The open store.  Thread rules: any thread. */
struct store *server_store (const struct server *server);

#endif /* SQLBLOCK_SERVER_H */
