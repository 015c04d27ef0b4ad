/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The formats of database files, by the number in their header (user_version),
 * and what a file of each has in its schema.
 *
 *   format   text of its tables       this program
 *   4, 5     schema-5.sql, for ever   reads it as it is, and makes it one of
 *                                     the newest (manage/upgrade.c)
 *   6        schema.sql               reads and writes it
 *
 * A format is a text: the schema of a file is compared with it letter by
 * letter, and what stands in the file is what SQLite acts upon.  While it is
 * being upgraded, a file of format 4 has the tables of 5.
 *
 * To read an older format as it is, a connection gets temporary views in the
 * place of the tables that were changed or are new, with the columns of today.
 * So what reads needs to know one format only, and what writes says "main.".
 */

#ifndef SQLBLOCK_FORMATS_H
#define SQLBLOCK_FORMATS_H

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "base/types.h"
#include "sqlite/connection.h"
#include "status.h"

/* The first format with a mark (mark.h). */
#define FORMAT_WITH_MARK 5

/* Fail where this program knows nothing of FORMAT: ENOTSUP.  Returns 0 or -1.
 * Thread rules: any thread.
 */
int formats_check_number (int64_t format, struct status *status);

/* Is FORMAT an older one, which is only read? */
static inline bool
formats_is_older (int64_t format)
{
  return format < DATABASE_FORMAT;
}

/* Say that the file PATH is to be upgraded before it is written: EROFS. Returns
 * -1.
 */
int formats_fail_older (const char *path, int64_t format,
                        struct status *status);

/* Make the tables, indexes and views of the newest format in DB, which is
 * empty.  Returns an SQLite result code.
 */
int formats_make (sqlite3 *db);

/* What the header of the database says, with what is in the log.  Returns 0 or
 * -1.  Thread rules, here and below: those of the connection.
 */
int formats_number (struct connection *connection, int64_t *format,
                    struct status *status);

/* Compare the schema of the database with that of FORMAT, which this program
 * knows: EINVAL, with what differs.  *HAS_MARK becomes whether it has the table
 * `mark`.  Returns 0 or -1.
 */
int formats_check_schema (struct connection *connection, int64_t format,
                          bool *has_mark, struct status *status);

/* Have CONNECTION, which reads, show an older database as if it was of the
 * newest format.  Returns 0 or -1.
 */
int formats_show_older (struct connection *connection, struct status *status);

/* Call FOUND for each table and index of FORMAT, which has a mark, the tables
 * first: its name, and the text of its statement.  Returns 0, or -1 when FOUND
 * did.
 */
typedef int (*formats_found) (struct connection *connection, const char *name,
                              const char *text, struct status *status);
int formats_each (struct connection *connection, int64_t format,
                  formats_found found, struct status *status);

#endif /* SQLBLOCK_FORMATS_H */
