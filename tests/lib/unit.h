/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the unit tests of the store share.
 *
 * Each test has a temporary directory of its own, made by unit_setup and
 * removed by unit_teardown, and a limited time.  Failures of the helpers
 * are failures of the test.
 */

#ifndef SQLBLOCK_TESTS_UNIT_H
#define SQLBLOCK_TESTS_UNIT_H

/* In this order, before cmocka.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "sqlite/connection.h"
#include "rows/disks.h"
#include "random.h"
#include "status.h"
#include "store.h"

/* cmocka 1 has this by another name, of which cmocka 2 warns. */
#ifndef assert_uint_in_range
#define assert_uint_in_range assert_in_range
#endif

/* Fixtures of a test, or of a group of tests that share the directory. */
int unit_setup (void **state);
int unit_teardown (void **state);

/* Kill this process after so many SECONDS; SQLBLOCK_SLOW in the environment
 * says how many times that it may take (check-with).
 */
void unit_alarm (unsigned seconds);

/* A test with a directory of its own.  (cmocka.h has an old macro of this
 * name, which it deprecates.)
 */
#undef unit_test
#define unit_test(function)                                                    \
  cmocka_unit_test_setup_teardown (function, unit_setup, unit_teardown)

/* Remove a directory and all that is in it.  Returns 0, or -1. */
int unit_remove_directory (const char *path);

/* The directory. */
const char *unit_directory (void);

/* The path of NAME in the directory, valid until unit_teardown. */
char *unit_path (const char *name);

/* The path of a database, which is not there yet. */
char *unit_database (void);

/* All of a file, or NULL where there is none; its size goes to *SIZE.  The
 * caller frees it.
 */
char *unit_read_file (const char *path, size_t *size);

/* Make a file of these bytes, or make it one. */
void unit_write_file (const char *path, const void *bytes, size_t size);

/* Have a disk that is made with OPTIONS be encrypted, with a key that is then
 * unit_key.  Returns what opens it.
 */
const struct secret *unit_encrypt (struct disk_options *options);
extern const struct cipher_key *unit_key; /* or NULL */

/* Make the database PATH with its first disk. */
void unit_create (const char *path, const struct disk_options *options);

/* Open a database as the store does.  The caller closes it. */
void unit_open (struct connection *connection, const char *path,
                enum connection_mode mode);

/* Close a connection that could write as the last one of a store is closed:
 * the log goes.
 */
void unit_close (struct connection *connection);

/* Takes the warnings of a store, where they are of no interest. */
void unit_ignore_warning (const char *message);

/* Take the disks, and the extents, of those who only ask whether there are
 * any that cannot be read.
 */
int unit_ignore_disk (const struct disk_info *info, void *opaque);
int unit_ignore_extent (uint64_t offset, uint64_t count, bool hole,
                        void *opaque);

/* Open the store PATH as a command does; what it warns of is printed.  The
 * caller closes it.
 */
struct store *unit_open_store (const char *path);

/* The same, and pages that do not fit their checksums are read. */
struct store *unit_open_tolerant (const char *path);

/* Open a database with nothing that protects it: no constraint is checked
 * and the schema can be written; its mark says closed.  row_checksum() is
 * known.  The caller closes it with sqlite3_close.
 */
sqlite3 *unit_open_raw (const char *path);

/* Run statements; FORMAT is that of sqlite3_mprintf (%q, %Q, %w). */
void unit_sql (sqlite3 *db, const char *format, ...);

/* The same on a connection of its own, as by unit_open_raw. */
void unit_sql_on (const char *path, const char *format, ...);

/* The same, while the columns of the tables take NULL and values of any
 * type.
 */
void unit_sql_hostile (const char *path, const char *format, ...);

/* The one integer that a statement returns. */
int64_t unit_integer (sqlite3 *db, const char *format, ...);

/* The same on a connection of its own, as by unit_open_raw. */
int64_t unit_integer_on (const char *path, const char *format, ...);

/* SQL that makes a temporary table, shown: what each disk (snapshot is NULL)
 * and snapshot, by their ids, shows that is not zeroes: the ids of the rows,
 * their bytes, or their content.
 */
extern const char unit_shown[];

/* SQL that sets the checksums of layer, disk and snapshot rows to what they
 * should be.
 */
extern const char unit_layer_checksums[];
extern const char unit_disk_checksums[];
extern const char unit_snapshot_checksums[];
extern const char unit_feature_checksums[];
extern const char unit_property_checksums[];

/* The codec NAME, whether this program was built with it or not. */
enum codec unit_codec (const char *name);

/* Each content must have a block that refers to it, and each block that does
 * its content, of its size.
 */
void unit_assert_contents (sqlite3 *db);

/* SQLite finds nothing wrong in the file.  Where there are views, its
 * integrity_check leaves out the list of free pages, and pages that are not
 * used at all (3.40); so it is asked when there are none.
 */
void unit_assert_sound (const char *path);

/* Everything was reclaimed: no row or layer may be left that nobody sees.
 */
void unit_assert_reclaimed (const char *path);

/* The result of a call must be WANTED, else its message is shown. */
#define assert_result(result, status, wanted)                                  \
  unit_assert_result ((result), (status), (wanted), __FILE__, __LINE__)
#define assert_ok(result, status) assert_result (result, status, 0)

/* The call must have failed with errno ERROR and a message with TEXT. */
#define assert_fails(result, status, error, text)                              \
  unit_assert_fails ((result), (status), (error), (text), __FILE__, __LINE__)

void unit_assert_result (int64_t result, const struct status *status,
                         int64_t wanted, const char *file, int line);
void unit_assert_fails (int64_t result, const struct status *status, int error,
                        const char *text, const char *file, int line);

/* Where random numbers start: the environment variable SQLBLOCK_SEED, or
 * else a new number.  It is printed.
 */
uint64_t unit_seed (void);

/* SQL: one row more, of KEY, of a kind that nobody knows. */
#define UNIT_NOTE(key)                                                         \
  "INSERT INTO property (kind, owner, key, value, checksum)"                   \
  " VALUES (9, 0, " key ", 0, 0)"

#endif /* SQLBLOCK_TESTS_UNIT_H */
