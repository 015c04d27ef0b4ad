/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The server that a randomized check starts, kills and starts again.
 *
 * A program has one server, on a fresh database in a temporary directory, or on
 * a cluster.
 * It ends with the program, however that ends.  See serving.c.
 */

#ifndef SQLBLOCK_TESTS_SERVING_H
#define SQLBLOCK_TESTS_SERVING_H

#include <libnbd.h>
#include <stdbool.h>
#include <stdint.h>

/* What every program has as an option.  A program that wants other values
 * than serving.c has sets them before it calls parse_options.
 */
struct settings {
  const char *plugin;   /* path of the plugin */
  const char *database; /* where it is; NULL: a file of the program's own */
  const char *killed;   /* a command to run after each kill, or NULL */
  const char *key_file; /* the disk is encrypted with it; or NULL */
  uint64_t size;        /* of the disk */
  uint64_t block_size;  /* of the disk */
  uint64_t connections; /* how many a program opens */
  uint64_t threads;     /* of the server for each connection: nbdkit's -t */
  uint64_t seed;        /* of all that is random */
};
extern struct settings settings;

/* An option of one program: --NAME NUMBER. */
struct number_option {
  const char *name;
  uint64_t *value;
  const char *help;
};

void parse_options (int argc, char *argv[], const struct number_option *own,
                    unsigned own_count);

/* Report a failure with the seed and the end of the server's log, keep the
 * database, and exit 1.
 */
void fail (const char *format, ...)
    __attribute__ ((noreturn, format (printf, 1, 2)));

/* In a child process: print errors into the server's log from now on. */
void write_to_log (void);

void server_create (void);
void server_start (void);
bool server_runs (void);
void server_kill (void);
void server_remove (void);

/* Connect; it waits for a server that is still starting. */
struct nbd_handle *server_connect (void);

#endif
