/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the parts of power-cuts share. */

#ifndef SQLBLOCK_TESTS_POWERCUT_H
#define SQLBLOCK_TESTS_POWERCUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "load.h"

/* What a round cuts at one place: nothing lost, and lost at random. */
#define CUTS 3

/* At most this many seconds may pass without a result. */
#define LONGEST 300

extern struct history history;
extern struct load_options options;
extern uint64_t randoms;

/* A path in the directory of this run; the caller frees it. */
char *path_of (const char *name);

/* Remove a database and all that belongs to it. */
void remove_database (const char *path);

/* A cut that loses something. */
struct cut random_cut (void);

/* Choose where to cut between the events FIRST and END: half of the places
 * are boundaries of syncs.  Without a number of places, all boundaries are.
 * The caller frees it.
 */
bool *choose_places (size_t first, size_t end);

/* Make the files at PATH that a cut before event PLACE leaves.  A check may
 * change them: a copy shows how they were, if it fails.
 */
void make_cut (const struct medium *medium, size_t place, const struct cut *cut,
               const char *path);

/* Rounds of upgrading a copy of the database FILE. */
void upgrade_rounds (const char *file, uint64_t rounds);

#endif /* SQLBLOCK_TESTS_POWERCUT_H */
