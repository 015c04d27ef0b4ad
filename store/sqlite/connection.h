/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* One SQLite connection as the store uses it.
 *
 * It is opened by URI with fixed, safe settings, waits for locks with a
 * limit and only while the server is not ending, and keeps its prepared
 * statements.  SQL stands as a named constant next to the function that
 * uses it; the address of the constant is what finds the statement again.
 *
 * Thread rules: a connection is used by one thread at a time (it is opened
 * without SQLite's own mutex), except where a function says otherwise.
 */

#ifndef SQLBLOCK_CONNECTION_H
#define SQLBLOCK_CONNECTION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "sqlite/claim.h"
#include "block/codec.h"
#include "sqlite/mark.h"
#include "status.h"
#include "sqlite/vfs-checksum.h"
#include "sqlite/watch.h"

/* More than the statements of the busiest connection, which are nearly all that
 * there are: that of the writer, after it has done all that can be asked.
 */
#define CONNECTION_STATEMENTS 256

/* How long a request waits for another program's lock, in milliseconds,
 * with what it waited for a connection; the manual states it.
 */
#define CONNECTION_LONGEST_WAIT 30000

enum connection_mode {
  CONNECTION_WRITE,
  CONNECTION_GATHER, /* write blocks: as above, see vfs-gather.h */
  CONNECTION_LOG,    /* sync and checkpoint the log; look at no table */
  CONNECTION_READ,
  CONNECTION_IMMUTABLE, /* read without the log or locks: see watch.h */
  CONNECTION_CREATE,    /* write an existing, empty file */
};

/* What the connections of a store share: what they do about damaged pages,
 * and about waiting for locks.
 *
 * Only a thread of the server can see that the server is to end, and it
 * need not look while nobody waits: it sleeps in patience_await_wait.
 */
struct patience {
  /* Where pages that do not fit their checksums are noted; NULL: reading one
   * fails.  Set before the first connection is opened.
   */
  struct damaged_pages *damaged;

  /* A file whose log is missing, or that is a torn copy, is opened all the
   * same. Set as that.
   */
  bool without_log;

  /* An older format is opened for writing, by who upgrades it.  As that. */
  bool upgrade;

  atomic_bool unsealed;    /* a page without a checksum was read */
  atomic_uint litestream;  /* the root of its table (litestream.h); 0: none */
  atomic_bool in_doubt;    /* a sync has failed, and was not made good */
  atomic_bool interrupted; /* all waiting ends */
  pthread_mutex_t lock;    /* of what follows; a leaf */
  pthread_cond_t changed;
  bool waiting; /* a connection waited since the last look */
};

void patience_init (struct patience *patience);
void patience_destroy (struct patience *patience);

/* Sleep until a connection waits for a lock.  Returns false when the
 * patience was interrupted.  Thread rules: any thread.
 */
bool patience_await_wait (struct patience *patience);

/* End all waiting, in failure, now and later.  Thread rules: any thread. */
void patience_interrupt (struct patience *patience);
bool patience_is_interrupted (const struct patience *patience);

/* What a connection knows about the mark (marking.h). */
struct marking {
  bool known; /* `mark` holds, unless somebody else has committed */
  unsigned char given[LOG_INDEX_HEADER]; /* as the log was when Litestream was
                                            let go first (litestream.h) */
  bool changed;                          /* by the transaction that runs */
  unsigned version;                      /* SQLite's, of the database's state */
  struct mark mark;
  unsigned char salts[LOG_SALTS_SIZE];    /* of the log, when that was read */
  unsigned char marked[LOG_SALTS_SIZE];   /* those of one that has a mark */
  unsigned char durable_id[MARK_ID_SIZE]; /* the last one seen in the file */
};

struct connection {
  sqlite3 *db;
  enum connection_mode mode;
  bool on_cluster;
  bool writing; /* in a write transaction */
  bool shared;  /* that transaction is for several requests */
  struct marking marking;

  struct claim claim;  /* of the file, for longer than it is open */
  struct watch *watch; /* of CONNECTION_IMMUTABLE, or NULL */

  /* What waiting for a lock depends on. */
  struct patience *patience; /* may be NULL */
  int longest_wait;          /* milliseconds */
  uint64_t asked;            /* when the work was asked for; 0: now */
  uint64_t waiting_since;

  struct codec_workspace workspace;
  uint64_t content_freed; /* bytes of contents that have gone, see follow.h */
  bool stopped; /* a statement, by a row with a codec that is not known: */
  int64_t unknown_codec;

  struct {
    const char *sql;
    sqlite3_stmt *statement;
  } statements[CONNECTION_STATEMENTS];
};

/* Open the database PATH.  Waiting for locks ends early when PATIENCE (if
 * not NULL) is interrupted; it must outlive the connection.  Returns 0, or
 * -1 with nothing left open.
 */
int connection_open (struct connection *connection, const char *path,
                     enum connection_mode mode, struct patience *patience,
                     struct status *status);

/* The same for work that was asked for at a time of clock_now, since when it
 * has waited.
 */
int connection_open_asked (struct connection *connection, const char *path,
                           enum connection_mode mode, struct patience *patience,
                           uint64_t asked, struct status *status);

/* Wait a little, as for a lock: another time after ATTEMPTS.  Returns false
 * when it has waited as long as it may.
 */
bool connection_wait (struct connection *connection, int attempts);

/* Is all that was read through CONNECTION, since it was opened, what the
 * database shows?  What was read without the log may not be: then this fails,
 * and the connection is of no more use.  Returns 0, or -1 with EIO.
 */
int connection_check (const struct connection *connection,
                      struct status *status);

/* Close the connection; one that is not open is left alone.  The log stays,
 * also if it is the last one, unless marking_permit_close has said otherwise.
 */
void connection_close (struct connection *connection);

/* The prepared statement for SQL, a constant, reset and without bindings;
 * NULL on failure.  Give it back with statement_done.
 */
sqlite3_stmt *connection_statement (struct connection *connection,
                                    const char *sql, struct status *status);

/* Finish with a statement: its locks and its bound buffers are let go. */
void statement_done (sqlite3_stmt **statement);
#define CLEANUP_STATEMENT __attribute__ ((cleanup (statement_done)))

/* Step a statement.  Returns 1 with a row, 0 at the end, -1 on failure. */
int connection_step (struct connection *connection, sqlite3_stmt *statement,
                     struct status *status);

/* Looks at rows inside a statement, which is cheaper than to have SQLite
 * return each of them.  In SQL, with ?5 bound by statement_visit:
 *
 *   SELECT 1 FROM ... WHERE ... AND visit (?5, INTEGER, INTEGER)
 *
 * VISIT gets the two integers of each row, in the order in which an index
 * gives them.  Where it returns true, the statement returns the row.
 */
struct visitor {
  bool (*visit) (struct visitor *visitor, int64_t first, int64_t second);
};

/* Bind VISITOR, which must outlive the binding, as a parameter. */
void statement_visit (sqlite3_stmt *statement, int parameter,
                      struct visitor *visitor);

/* Run SQL, a constant that returns nothing of interest. */
int connection_run (struct connection *connection, const char *sql,
                    struct status *status);

/* The same, with ID bound as ?1. */
int connection_run_for (struct connection *connection, const char *sql,
                        int64_t id, struct status *status);

/* The same, with TEXT or VALUE bound as ?2. */
int connection_run_for_text (struct connection *connection, const char *sql,
                             int64_t id, const char *text,
                             struct status *status);
int connection_run_for_integer (struct connection *connection, const char *sql,
                                int64_t id, int64_t value,
                                struct status *status);

/* Run SQL, a constant that returns one integer. */
int connection_integer (struct connection *connection, const char *sql,
                        int64_t *value, struct status *status);

/* The same, with ID bound as ?1. */
int connection_integer_for (struct connection *connection, const char *sql,
                            int64_t id, int64_t *value, struct status *status);

/* The size of the database's pages, in bytes. */
int connection_page_size (struct connection *connection, int64_t *size,
                          struct status *status);

/* The files of the database and of its log, as SQLite uses them.  Returns an
 * SQLite result code.
 */
int connection_files (struct connection *connection, sqlite3_file **database,
                      sqlite3_file **log);

/* Read something: only then does SQLite open the log, and a checkpoint on a
 * connection that never read does nothing and reports success.
 */
int connection_touch (struct connection *connection, struct status *status);

/* Transactions.  One that writes begins with marking_begin (marking.h), which
 * finds the mark open; rollback does nothing where there is none (SQLite ends
 * some by itself).
 */
int connection_begin_read (struct connection *connection,
                           struct status *status);
int connection_commit (struct connection *connection, struct status *status);

/* What SQLite counts up whenever the connection may see another state of the
 * database, its own commits included.
 */
unsigned connection_state_version (struct connection *connection);

/* Begin a write transaction, with the write lock, that leaves the mark as it
 * is: for those who keep others from writing, or write marks.
 */
int connection_begin_hold (struct connection *connection,
                           struct status *status);

/* The write transaction that has begun frees space, so it may use what is
 * kept for that (reserve.h); not where it is for several requests.
 */
void connection_frees_space (struct connection *connection);
void connection_rollback (struct connection *connection);

/* Have commits of this connection, until it is closed, take all free pages
 * off the file.  Pages in use that lie behind its new end are moved.
 */
int connection_vacuum_at_commit (struct connection *connection,
                                 struct status *status);

/* Have a page cache of KIBIBYTES. */
int connection_set_cache (struct connection *connection, int kibibytes,
                          struct status *status);

#endif /* SQLBLOCK_CONNECTION_H */
