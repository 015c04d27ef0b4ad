/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A database file as pages, for when SQLite cannot read it any more ("The
 * SQLite Database File Format", fileformat2.html).
 *
 * Nothing in it is trusted: whatever the bytes are, no function here reads
 * outside of a page or goes round in circles.  A page that the medium cannot
 * read is all zeroes.  What is in the write-ahead log, as far as SQLite would
 * recover it, stands before what is in the file.  This is the only reader of a
 * database's files above sqlite/.
 *
 * Thread rules: one thread at a time; and as closing the file drops the locks
 * of the whole process, only while that has no connection to it.
 */

#ifndef SQLBLOCK_RAWFILE_H
#define SQLBLOCK_RAWFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "sqlite/page.h"
#include "status.h"

/* The longest record that there can be: a block of 1 MiB and its key. */
#define PAYLOAD_MAX (1048576 + 256)

/* Where a page's newest copy is in the log. */
struct log_page {
  uint32_t page;
  uint64_t offset;
};

struct rawfile {
  int file, log; /* descriptors; -1: there is no log */
  struct stat opened, log_opened;
  uint32_t page_size, usable; /* in bytes; without the checksum */
  uint32_t count;   /* of pages, as the log says, or else the file's size */
  uint32_t in_file; /* how many of them the file is long enough for */
  uint32_t present; /* how many of them are there, with those of the log */
  struct log_page *in_log; /* by page */
  size_t in_log_count;
  uint64_t unreadable; /* reads that have failed */
  uint32_t missing;    /* pages that the file is too short for */
  uint32_t log_lost;   /* frames that were committed, and are not there */
  uint32_t log_frames; /* that are */
  bool log_torn;       /* the log is damaged, and ends before that */

  /* The page of rawfile_get, and the last one of the pointer map. */
  uint32_t current, map_number;
  bool current_in_log;
  unsigned char page[PAGE_SIZE_MAX], map[PAGE_SIZE_MAX];
};

/* Open the database PATH, whose pages have PAGE_SIZE bytes, or for 0 as many
 * as its header says.  Returns a new one, for rawfile_close, or NULL.
 */
struct rawfile *rawfile_open (const char *path, uint32_t page_size,
                              struct status *status);
void rawfile_close (struct rawfile *pages);

/* The next page after NUMBER that stands in the file or in its log, or 0.  A
 * log that lies may say that there are 4,294,967,294.
 */
uint32_t rawfile_next (const struct rawfile *pages, uint32_t number);

/* Does nobody write the file, and are it and its log what they were when they
 * were opened?  Returns 0, or -1: EBUSY.
 */
int rawfile_check_still (const struct rawfile *pages, struct status *status);

/* Read page NUMBER, from 1 on, into pages->page. */
void rawfile_get (struct rawfile *pages, uint32_t number);

/* What the pointer map says that page NUMBER is; 0: nothing that it can be. */
enum page_use rawfile_use (struct rawfile *pages, uint32_t number);

/* The first byte of the pages of b-trees. */
enum tree_type {
  INDEX_INTERIOR = 2,
  TABLE_INTERIOR = 5,
  INDEX_LEAF = 10,
  TABLE_LEAF = 13,
};

/* What stands at the head of pages->page, if it is a page of a b-tree. */
struct tree_page {
  enum tree_type type;
  unsigned cells;
  uint32_t last_child; /* of interior pages */
  unsigned pointers;   /* where those to the cells stand */
};
bool rawfile_tree (const struct rawfile *pages, struct tree_page *tree);

/* Where cell I begins, or 0 where it lies outside. */
unsigned rawfile_cell (const struct rawfile *pages,
                       const struct tree_page *tree, unsigned i);

/* A cell, with the whole payload. */
struct cell {
  uint32_t child; /* of interior pages */
  int64_t rowid;  /* of tables */
  size_t length;  /* of the payload */
  size_t local;   /* bytes of the cell on its page */
};

/* Read the cell at OFFSET of pages->page, as one of TYPE, and its payload
 * into PAYLOAD, which has room for PAYLOAD_MAX bytes.
 */
bool rawfile_read_cell (struct rawfile *pages, enum tree_type type,
                        unsigned offset, struct cell *cell,
                        unsigned char *payload);

/* Read cell I of the page of a b-tree at hand; false where it lies outside. */
bool rawfile_tree_cell (struct rawfile *pages, const struct tree_page *tree,
                        unsigned i, struct cell *cell, unsigned char *payload);

/* A value in a record. */
enum value_type {
  VALUE_NULL,
  VALUE_INTEGER,
  VALUE_REAL,
  VALUE_BLOB,
  VALUE_TEXT
};
struct value {
  enum value_type type;
  int64_t integer;
  const unsigned char *bytes;
  size_t length;
};

#define RECORD_VALUES 16

/* Take a payload apart; returns how many values it has, 0 where it is no
 * record.
 */
unsigned record_parse (const unsigned char *payload, size_t length,
                       struct value values[RECORD_VALUES]);

#endif /* SQLBLOCK_RAWFILE_H */
