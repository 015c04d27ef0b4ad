/* A VFS under SQLite that counts what reaches the files of a database, and
 * fails on demand.
 *
 * It passes every call on to the system's VFS.  The files are told apart
 * by how SQLite opens them: the database, and its write-ahead log.
 */

#ifndef SQLBLOCK_SHIM_H
#define SQLBLOCK_SHIM_H

#include <stdatomic.h>

enum shim_file { SHIM_DATABASE, SHIM_LOG, SHIM_OTHER, SHIM_FILES };

/* Counted since the last shim_reset. */
extern atomic_int shim_syncs[SHIM_FILES];
extern atomic_int shim_writes[SHIM_FILES];

/* Fail while not zero: syncs of a file with EIO, ... */
extern atomic_int shim_fail_sync[SHIM_FILES];
/* ... and writes to a file at or past this many bytes, as a full file
 * system does (0: never).
 */
extern atomic_long shim_full_at[SHIM_FILES];

/* Make the shim SQLite's default VFS.  Once, before any connection. */
void shim_install (void);

/* Set all of the above to zero. */
void shim_reset (void);

#endif /* SQLBLOCK_SHIM_H */
