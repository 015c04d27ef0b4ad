/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the parts of the session of faults.c share. */

#ifndef SQLBLOCK_TESTS_FAULTS_H
#define SQLBLOCK_TESTS_FAULTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "status.h"
#include "store.h"

#define BLOCK 4096
#define SIZE  (100 * BLOCK + 300)

/* The store, its disk "d", and what that must contain. */
extern struct store *store;
extern struct disk *disk;
extern char model[SIZE];

/* Whether calls are counted, and may fail. */
extern atomic_bool counting;

/* Do something until it works.  AFTER_FAILURE (may be NULL) looks at what a
 * failure has left.
 */
void try (const char *what, int (*do_it) (struct status *status),
          void (*after_failure) (void));

/* Overwrite a part of the disk. */
void write_disk (uint64_t offset, uint64_t count, bool fua);

/* Open the disk again, and make durable what was written. */
void reopen_disk (void);
void flush_disk (void);

/* Two parts of the session, in faults-manage.c: the first in a server, the
 * second in a command.
 */
void manage_in_server (void);
void manage_in_command (void);

/* After all: see what there is, also when all is reclaimed. */
void check_managed (void);

#endif /* SQLBLOCK_TESTS_FAULTS_H */
