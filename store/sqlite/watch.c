/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Reading a database without its log: see watch.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "sqlite/files.h"
#include "sqlite/filesystem.h"
#include "sqlite/mark.h"
#include "sqlite/page.h"
#include "sqlite/watch.h"

/* How long a file must not have changed, in milliseconds, and where its times
 * are whole seconds, or every second one.
 */
#define REST         100
#define REST_SECONDS 2100

/* How long to wait for that, and how long between two looks. */
#define PATIENCE 3000
#define PAUSE    10

/* What is noted of a file. */
struct look {
  int64_t size, seconds, nanoseconds; /* of the ctime */
  unsigned char header[PAGE_HEADER_SIZE];
};

struct watch {
  struct claim claim; /* another's */
  char *path, *log, *journal;
  bool own; /* the file system's clock is this machine's */
  struct look begun;
};

/*--------------------------------------------------------------------
 * Looking.
 */

/* Note what the file is now.  On a file system of others, ask them. */
static int
take_look (const struct watch *watch, struct look *look, struct status *status)
{
  const int fd = claim_descriptor (&watch->claim);
  const int flags = AT_EMPTY_PATH | (watch->own ? 0 : AT_STATX_FORCE_SYNC);
  struct statx st;

  *look = (struct look){ 0 };
  if (statx (fd, "", flags, STATX_CTIME | STATX_SIZE, &st) == -1 ||
      pread (fd, look->header, sizeof look->header, 0) == -1)
    return status_fail (status, EIO, "looking at %s: %s", watch->path,
                        strerror (errno));
  look->size = st.stx_size;
  look->seconds = st.stx_ctime.tv_sec;
  look->nanoseconds = st.stx_ctime.tv_nsec;
  return 0;
}

static bool
is_same (const struct look *a, const struct look *b)
{
  return a->size == b->size && a->seconds == b->seconds &&
         a->nanoseconds == b->nanoseconds &&
         memcmp (a->header, b->header, sizeof a->header) == 0;
}

static bool
has_content (const char *name)
{
  struct stat st;

  return stat (name, &st) == 0 && st.st_size > 0;
}

/* Is there a log, or a journal, or somebody who may soon write one? */
static bool
is_written (const struct watch *watch)
{
  return has_content (watch->log) || has_content (watch->journal) ||
         claim_is_written_elsewhere (&watch->claim);
}

/* Say which of these there is. */
static int
fail_written (const struct watch *watch, struct status *status)
{
  if (has_content (watch->log))
    return status_fail (status, EROFS,
                        "%s has a write-ahead log, %s, which cannot be read "
                        "where it cannot be written, or is not surely that "
                        "of this name: end the programs that write the "
                        "database, open it once where and by the name by "
                        "which it can be written, or copy both files there",
                        watch->path, watch->log);
  if (has_content (watch->journal))
    return status_fail (status, EROFS,
                        "%s has a journal, %s, of a program that did not "
                        "end well: open the database once where it can be "
                        "written",
                        watch->path, watch->journal);
  return status_fail (status, EBUSY,
                      "%s is being written under another name: use it by "
                      "that name, or end the programs that write it",
                      watch->path);
}

/*--------------------------------------------------------------------
 * Rest.
 */

/* How long a file with this ctime must not have changed, in nanoseconds. */
static uint64_t
rest_of (const struct look *look)
{
  return (look->nanoseconds == 0 ? REST_SECONDS : REST) * CLOCK_MILLISECOND;
}

/* Has it rested by this machine's clock? */
static bool
is_old (const struct look *look)
{
  struct timespec now;

  clock_gettime (CLOCK_REALTIME, &now);
  return (now.tv_sec - look->seconds) * (int64_t)CLOCK_SECOND + now.tv_nsec -
             look->nanoseconds >=
         (int64_t)rest_of (look);
}

/* Wait until the file rests, and note what it is then. */
static int
await_rest (struct watch *watch, struct status *status)
{
  const uint64_t began = clock_now ();
  uint64_t since = began, now;
  struct look look;

  if (take_look (watch, &watch->begun, status) == -1)
    return -1;
  for (;;) {
    if (is_written (watch))
      return fail_written (watch, status);
    now = clock_now ();
    if ((watch->own && is_old (&watch->begun)) ||
        now - since >= rest_of (&watch->begun))
      return 0;
    if (now - began >= PATIENCE * CLOCK_MILLISECOND)
      return status_fail (status, EROFS,
                          "%s is changed again and again, and cannot be read "
                          "without its log meanwhile: end the programs that "
                          "write it",
                          watch->path);
    nanosleep (&(struct timespec){ .tv_nsec = PAUSE * CLOCK_MILLISECOND },
               NULL);
    if (take_look (watch, &look, status) == -1)
      return -1;
    if (!is_same (&look, &watch->begun)) {
      watch->begun = look;
      since = clock_now ();
    }
  }
}

/* The file rests; but a log may be missing that has a part of it. */
static int
check_closed (const struct watch *watch, struct status *status)
{
  struct mark_look look;

  if (mark_look (watch->path, &look, status) == -1 ||
      mark_check_fit (watch->path, &look, status) == -1)
    return -1;
  if (look.alone)
    return 0;
  return status_fail (status, EROFS,
                      "%s was not closed, so a part of it is in a write-ahead "
                      "log, which cannot be read where it cannot be written: "
                      "open the database once where it can be written",
                      watch->path);
}

/*--------------------------------------------------------------------
 * Watches.
 */

void
watch_end (struct watch *watch)
{
  if (watch == NULL)
    return;
  free (watch->path);
  free (watch->log);
  free (watch->journal);
  free (watch);
}

struct watch *
watch_begin (const char *path, const struct claim *claim, struct status *status)
{
  struct watch *watch = calloc (1, sizeof *watch);

  if (watch == NULL) {
    status_no_memory (status);
    return NULL;
  }
  *watch = (struct watch){
    .claim = *claim,
    .path = strdup (path),
    .log = files_side (path, "-wal"),
    .journal = files_side (path, "-journal"),
    .own = filesystem_is_own (path),
  };
  if (watch->path == NULL || watch->log == NULL || watch->journal == NULL)
    status_no_memory (status);
  else if (await_rest (watch, status) == 0 && check_closed (watch, status) == 0)
    return watch;
  watch_end (watch);
  return NULL;
}

int
watch_fail (struct status *status)
{
  return status_fail (status, EIO,
                      "another program is changing the database, which is "
                      "read here without its write-ahead log: nothing is "
                      "read until that program has ended; to read meanwhile "
                      "as well, use it by the same name, as a user who may "
                      "write its directory");
}

int
watch_check (const struct watch *watch, struct status *status)
{
  struct look look;

  if (take_look (watch, &look, status) == -1)
    return -1;
  return is_same (&look, &watch->begun) && !is_written (watch)
             ? 0
             : watch_fail (status);
}
