/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The fuzzer of databases.
 *
 * A case is a string of bytes that says what to do to a database that was
 * well: which of a few (fuzz-seed.c), and which bytes, rows and index
 * entries to change (fuzz-mutate.c).  What is left of it is opened and used
 * in every way there is (fuzz-database.c).  That may fail, but nothing may
 * crash or hang, and a read that succeeds must give what was once written
 * to this place of this disk:
 *
 *   a sector of 512 bytes is one of
 *     zeroes        before it was written, or after a trim
 *     the pattern   of (layer, block, generation, place in the block), for
 *                   a generation of a layer that the disk could ever see
 *     the pattern   of what the fuzzer has written itself, not in snapshots
 *
 * The exception are rows that were changed and given the right checksum:
 * they may say anything, and only crashes and hangs count.
 *
 * Cases come from libFuzzer, or where the program was not built for it,
 * from a loop of random ones (fuzz-driver.c).
 */

#ifndef SQLBLOCK_TESTS_FUZZ_H
#define SQLBLOCK_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

#define FUZZ_SECTOR 512

/* The generation of what the fuzzer writes. */
#define FUZZ_WRITTEN 100

/* The disks and snapshots of each seed. */
struct fuzz_disk {
  const char *name;
  int64_t id;
  uint64_t size;
  uint32_t block_size;
  /* The layers it sees, up to which generation; 0 ends the list. */
  struct {
    int64_t layer, generation;
  } layers[3];
};

#define FUZZ_DISKS 6
extern const struct fuzz_disk fuzz_disks[FUZZ_DISKS];

bool fuzz_is_snapshot (const struct fuzz_disk *disk);

/* One sector of a block. */
void fuzz_pattern (int64_t layer, uint64_t number, int64_t generation,
                   uint32_t place, void *sector);

/* Make the seeds in DIRECTORY, which stays in use. */
void fuzz_make_seeds (const char *directory);

/* Put seed I (any number) where fuzz_path says, as files. */
void fuzz_put_seed (unsigned i);

/* The path of the database in use. */
const char *fuzz_path (void);

/* Open the database in use with nothing that protects it (unit_open_raw),
 * and with the functions pattern() and block_checksum() in SQL; its log
 * stays when it is closed.
 */
sqlite3 *fuzz_open_raw (void);

/* Remove all files in the directory. */
void fuzz_remove_files (void);

/* The bytes of a case, taken one after the other; zeroes after the end. */
struct fuzz_case {
  const uint8_t *bytes;
  size_t left;
};

/* A number below BOUND (at most 65536), from one or two bytes. */
unsigned fuzz_take (struct fuzz_case *c, unsigned bound);

/* Change the database in use as the case says.  Returns whether rows were
 * made that lie with the right checksum.
 */
bool fuzz_mutate (struct fuzz_case *c);

/* What came of the cases. */
struct fuzz_counts {
  uint64_t cases, hostile;
  uint64_t stores;  /* that could be opened */
  uint64_t disks;   /* that could be opened */
  uint64_t reads;   /* that succeeded */
  uint64_t damaged; /* reads that failed */
  uint64_t sectors; /* that were compared */
  uint64_t writes;  /* that succeeded */
  uint64_t managed; /* deletions of a snapshot that succeeded */
};
extern struct fuzz_counts fuzz_counts;

/* Run one case.  What is wrong ends the program by abort. */
void fuzz_run (const uint8_t *bytes, size_t length);

#endif /* SQLBLOCK_TESTS_FUZZ_H */
