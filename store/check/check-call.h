/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The call of check_database to a server (engine/remote.h). */

#ifndef SQLBLOCK_CHECK_CALL_H
#define SQLBLOCK_CHECK_CALL_H

#include "check.h"
#include "engine/remote.h"

struct check_call {
  struct check_counts counts;
  struct check_problem problem;
};
extern const struct field check_fields[];
extern const struct call_type call_check_database;

/* The name of the field that has a problem which was found. */
#define CHECK_CALL_FOUND "problem"

/* The same as check_database, where a server has the database. */
int check_on_server (struct store *store, const struct check_options *options,
                     struct check_counts *counts, struct status *status);

#endif /* SQLBLOCK_CHECK_CALL_H */
