/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The command sqlblock: what its commands share.
 *
 * sqlblock.c finds the command that the user means, reads its options and
 * counts its arguments; then it calls the command's function, which works
 * through the store library and reports through output.c.
 *
 *   sqlblock.c ──► commands-*.c, complete.c ──► store/manage.h
 *       │               │
 *       │               └──► output.c  (tables, JSON, progress)
 *       └──► arguments.c  (what arguments can be)
 *
 * Data goes to stdout, everything else to stderr.  Exit codes are below.
 * The process does one command and ends, so options and what they say are
 * static variables, and running out of memory ends it.
 */

#ifndef SQLBLOCK_TOOL_H
#define SQLBLOCK_TOOL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "manage.h"
#include "status.h"
#include "store.h"
#include "stream.h"

/* What a command returns, and the process as its exit code.  What each means
 * for people stands in sqlblock.c, for --help, and in the manual.
 */
enum tool_exit {
  TOOL_DONE = 0, /* even if the space of what was deleted is free later */
  TOOL_FAILED = 1,
  TOOL_USAGE = 2,     /* it could not be right, whatever the database has */
  TOOL_NOT_FOUND = 3, /* no such file, disk or snapshot (ENOENT) */
  TOOL_EXISTS = 4,    /* it is there already (EEXIST, ENOTEMPTY) */
  TOOL_BUSY = 5,      /* others use it (EBUSY); nothing was changed */
  TOOL_DAMAGED = 6,   /* a check has found something wrong */
};

/*--------------------------------------------------------------------
 * Commands (sqlblock.c)
 */

/* An option of one command.  A table of them ends with a NULL name. */
struct tool_option {
  const char *name;     /* without the dashes */
  char letter;          /* its short form, or 0 */
  const char *argument; /* what follows it, as the help calls it; NULL:
                           nothing */
  void *value;          /* where it goes: bool * without an argument, else
                           const char **, NULL before */
  const char *help;     /* one or more lines, without an indent */
};

/* Options that many commands have; all have --help and --quiet. */
enum {
  COMMON_JSON = 1,     /* --json */
  COMMON_PROGRESS = 2, /* --progress, --no-progress */
  COMMON_DRY_RUN = 4,  /* --dry-run */
  COMMON_FORCE = 8,    /* --force; the command's help says what it does */
  COMMON_TABLE = 16,   /* --columns, --sort, ...: of a table of one's choice */
  COMMON_KEY = 32,     /* --key-file, --passphrase: of an encrypted disk */
};

struct common {
  bool json, quiet, dry_run, force;
  int progress;        /* 1: --progress, -1: --no-progress, 0: neither */
  const char *control; /* the control socket of a server, or NULL */
  bool bare, exact;
  const char *columns, *sort, *sort_down; /* titles, or NULL */
  const char *key_file, *passphrase;      /* see secrets.h */
};
extern struct common common; /* what the user said */

/* Says what --control says, where that is not given. */
#define TOOL_CONTROL_VARIABLE "SQLBLOCK_CONTROL"

struct command {
  const char *name;      /* may be two words: "snapshot create" */
  const char *arguments; /* "DATABASE DISK [SIZE]" */
  const char *summary;   /* one line, without a full stop */
  const char *help;      /* what it does, in full lines; without the options */
  const struct tool_option *options; /* its own; may be NULL */
  unsigned common;                   /* COMMON_... */
  int least, most;                   /* how many arguments; most -1: any */
  bool any_disk;                     /* DISK may be left out of DISK@SNAPSHOT */
  bool alone;            /* it opens DATABASE by itself: not through a server */
  const char *snapshots; /* the command that does this, or something like it,
                            with a snapshot; may be NULL */
  /* Do it.  ARGV are the ARGC arguments, without the name and the options:
   * ARGV[0] is DATABASE.  ARGV[ARGC] is NULL.  Returns an exit code.
   */
  int (*run) (int argc, char *argv[]);
};

/* All of them, in the order of the help; NULL is behind the last. */
extern const struct command *const tool_commands[];

/* The command whose name the first of the COUNT WORDS are; USED tells how
 * many of them.  Short names among the words become what they stand for.  NULL
 * where there is none.
 */
const struct command *tool_find_command (int count, char *words[], int *used);

/* All options of COMMAND; returns how many.  There is room for them all, which
 * is checked.
 */
#define TOOL_OPTIONS_MAX 32
size_t
tool_gather_options (const struct command *command,
                     const struct tool_option *options[TOOL_OPTIONS_MAX]);

/* Print what can stand in the place of the last of the COUNT WORDS, for the
 * completion of shells (complete.c).  Returns an exit code.
 */
int complete (int count, char *words[]);

/* Fail, since WHAT opens the database by itself, and a server has it open.
 * Returns an exit code.
 */
int tool_alone (const char *what);

/* Print a usage error and how to get help; returns TOOL_USAGE. */
int tool_usage (const char *format, ...)
    __attribute__ ((format (printf, 1, 2)));

/*--------------------------------------------------------------------
 * What arguments can be (arguments.c)
 */

/* Check the COUNT arguments ARGV of COMMAND by the words of its usage: none
 * is empty, and names are such as disks and snapshots can have.  Returns an
 * exit code.
 */
int arguments_check (const struct command *command, int count, char *argv[]);

/* The same for the VALUE that was given to OPTION. */
int arguments_check_value (const struct tool_option *option, const char *value);

/* Check DISK, DISK@SNAPSHOT and, with ANY_DISK, @SNAPSHOT. */
int arguments_check_target (const char *text, bool any_disk);

/* Check that a disk, or a snapshot, can be called NAME. */
int arguments_check_disk (const char *name);
int arguments_check_new_snapshot (const char *name);

/*--------------------------------------------------------------------
 * What commands do before and after their work (tool.c)
 */

/* What is printed must not go into the database DATABASE, or what belongs to
 * it: ">>disks.sqlite-wal".  What ">" has truncated is lost already.  Exits
 * where it would.
 */
void tool_check_redirection (const char *database);

/* Open the database PATH, which must be there; WRITE says that the command
 * is going to change it.  main closes it.  Prints and exits on failure.
 */
struct store *tool_open (const char *path, bool write);

/* store_examine and store_make, where the database is opened here; where a
 * server has it open it is there.
 */
int tool_examine (const char *path, struct status *status);
int tool_make (const char *path, uint32_t block_size, struct status *status);

/* The same as tool_open, but returns NULL where what is there cannot be opened;
 * TOLERANT and WITHOUT_LOG are those of struct store_options.
 */
struct store *tool_try_open (const char *path, bool write, bool tolerant,
                             bool without_log, struct status *status);

/* Close it, where it is needed no more: other processes are to have it. */
void tool_close (void);

/* Close it.  Where a signal has stopped the command, whose exit code is
 * CODE, end the process as the signal would have done.  For main only.
 */
void tool_end (int code);

/* The parts of DISK or DISK@SNAPSHOT.  DISK is a copy that lives as long as
 * the process, SNAPSHOT points behind the "@", or is NULL where there is
 * none.
 */
struct target {
  char *disk;
  const char *snapshot;
};
struct target tool_target (const char *text);

/* What DISK or DISK@SNAPSHOT names, where SNAPSHOT may be a time. */
struct resolved {
  const char *name; /* with the snapshot's own name */
  const char *time; /* what stood for it, or NULL */
  char *text;       /* for people: 'web@monday' (the newest by 2026-11-24) */
  uint64_t size;    /* bytes */
  uint32_t block_size;
};

/* Find what TEXT names.  Warns where that is a time in the future.  Returns
 * 0, or -1.
 */
int tool_resolve (struct store *store, const char *text,
                  struct resolved *resolved, struct status *status);

/* What is changed is called by its name: fail where TEXT, DISK or
 * DISK@SNAPSHOT, is a time, or names nothing.  Returns an exit code.
 */
int tool_check_no_time (struct store *store, const char *text);

/* Fail where the file PATH, which is to be written, is the database DATABASE
 * or belongs to it; returns 0, or -1 (EEXIST, EINVAL).
 */
int tool_check_output (const char *database, const char *path,
                       struct status *status);

/* Say what is wrong with a value that the user gave; returns an exit code. */
int tool_wrong_value (const struct status *status);

/* Read the compression TEXT, or NULL for one that was not said.  Returns 0,
 * or an exit code.
 */
int tool_parse_compression (const char *text, struct compression *compression);

/* Free what nobody sees after something was deleted, with progress; says on
 * stderr what was freed.  Where it fails, it warns that "sqlblock compact"
 * finishes it: what was asked for is done.  Returns an exit code, which is
 * TOOL_DONE unless the user has interrupted it.
 */
int tool_reclaim (struct store *store);

/* The rest of what was asked for, which is done, has failed: warn that
 * "sqlblock compact" finishes it.  WHAT says in a sentence what is not yet.
 * Returns an exit code as tool_reclaim.
 */
int tool_leave_rest (const char *what, const struct status *status);

/* malloc, strdup and asprintf that do not fail. */
void *tool_alloc (size_t size); /* zeroed */
void *tool_realloc (void *block, size_t size);
char *tool_strdup (const char *text);

/* TEXT, of any bytes, as it is in a URI: with %XX for what means something
 * there; a new string.
 */
char *tool_encode (const char *text);
char *tool_format (const char *format, ...)
    __attribute__ ((format (printf, 1, 2)));

/*--------------------------------------------------------------------
 * What can be set (commands-set.c, commands-get.c)
 */

/* Why the property NAME of LENGTH bytes cannot be set, and what can be done
 * instead, for a sentence; NULL where "get" does not know it.
 */
const char *tool_why_read_only (const char *name, size_t length);

/* The NUMBERth that can only be read, or NULL behind the last. */
const char *tool_read_only (unsigned number);

/*--------------------------------------------------------------------
 * Output (output.c)
 */

/* What the user wants: COMMAND with its OPERANDS, of which there are COUNT. */
void tool_doing (const char *command, int count, char *operands[]);

/* Print "sqlblock: " and the message of STATUS, for a failure of the database
 * or a lack of space after what the user wants; returns the exit code that
 * its errno stands for.
 */
int tool_fail (const struct status *status);

/* The same with a message of one's own.  ERROR is an errno. */
int tool_error (int error, const char *format, ...)
    __attribute__ ((format (printf, 2, 3)));

/* Tell people what happened, on stderr, unless --quiet. */
void tool_say (const char *format, ...) __attribute__ ((format (printf, 1, 2)));

/* Print a line of data on stdout. */
void tool_print (const char *format, ...)
    __attribute__ ((format (printf, 1, 2)));

/* BYTES as people write them, 1.5G; returns BUFFER. */
#define TOOL_SIZE_MAX 16
char *tool_size (uint64_t bytes, char *buffer);

/* The same in a sentence, where a number alone says too little: 19 bytes. */
char *tool_amount (uint64_t bytes, char *buffer);

/* "1 disk", "2 disks", as count_words, but a new string. */
char *tool_count (uint64_t count, const char *one);

/* How many bytes of TEXT have a place in COLUMNS columns of a terminal. */
int tool_fitting (const char *text, int columns);

/* A table, printed with aligned columns.  TITLES ends with NULL; a title
 * that begins with ">" has its column aligned to the right.  An empty cell
 * is printed as "-".
 */
struct tool_table;
struct tool_table *tool_table (const char *const *titles);
void tool_cell (struct tool_table *table, const char *format, ...)
    __attribute__ ((format (printf, 2, 3))); /* row by row */
void tool_cell_size (struct tool_table *table, uint64_t bytes);
void tool_cell_time (struct tool_table *table, int64_t seconds);
void tool_cell_count (struct tool_table *table, uint64_t count);
void tool_cell_usage (struct tool_table *table, uint64_t bytes); /* or "?" */
void tool_cell_ratio (struct tool_table *table, uint64_t logical,
                      uint64_t stored);           /* or "?" */
void tool_table_print (struct tool_table *table); /* and free it */

/* Leave out the last columns, as far as they have no place in WIDTH. */
void tool_table_fit (struct tool_table *table, int width);

/* Show what the options of COMMON_TABLE ask for, and without them the columns
 * of these titles: "NAME,SIZE".  Returns an exit code, TOOL_USAGE for a title
 * that TABLE does not have.
 */
int tool_table_choose (struct tool_table *table, const char *columns);

/* Is the column of that title shown, or sorted by?  Else its cells may be
 * empty.
 */
bool tool_table_needs (const struct tool_table *table, const char *title);

/* One line of a list of properties: "name:   value", aligned. */
void tool_property (const char *name, const char *format, ...)
    __attribute__ ((format (printf, 2, 3)));
void tool_property_size (const char *name, uint64_t bytes);

/* How many times as much as it takes is STORED, bytes that are counted: 1 of
 * nothing, below 0 where one of them is USAGE_UNKNOWN.
 */
double tool_ratio (uint64_t logical, uint64_t stored);

/* The value of a property (base/optional.h) as a text, a new string: "?" where
 * it is damaged, x'00ff' where it is no text.
 */
char *tool_property_text (const struct property *property);

/* JSON.  Objects and arrays are jansson's; these make values that do not
 * fail: names that are not UTF-8 get U+FFFD, times are ISO 8601 in UTC.
 */
json_t *tool_json_string (const char *text);

/* Write VALUE, which is freed, to the file NAME, for this user alone, in one
 * step, by way of NEW_NAME.  Returns 0 or -1.
 */
int tool_json_save (json_t *value, const char *name, const char *new_name,
                    struct status *status);
json_t *tool_json_size (uint64_t bytes);
json_t *tool_json_usage (uint64_t bytes);                    /* or null */
json_t *tool_json_ratio (uint64_t logical, uint64_t stored); /* or null */
json_t *tool_json_time (int64_t seconds);
void tool_json_print (json_t *value); /* and free it */

/* What is kept of a reception, and the token with which it goes on. */
void tool_token (const struct partial_info *info, char token[STREAM_TOKEN_MAX]);
json_t *tool_json_partial (const struct partial_info *info);

/* A bar on stderr with rate and remaining time, while something goes on
 * that the words WHAT tell ("exporting web").  It is shown where stderr is
 * a terminal and it takes more than a second, or with --progress.
 *
 * From the beginning on, SIGINT, SIGTERM and SIGHUP do not end the process:
 * tool_progress returns non-zero instead, which a progress_made does to
 * stop the work (a second signal ends the process).  A command that then
 * returns is ended as the signal would have done it.
 */
void tool_progress_begin (const char *what);
void tool_catch_signals (void); /* does only this */
int tool_progress (uint64_t done, uint64_t total, void *opaque);
/* R is what the work has returned: 0 shows it as complete. */
void tool_progress_end (int r);
int tool_interrupted (void); /* the number of the signal, or 0 */

#endif /* SQLBLOCK_TOOL_H */
