/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* May a client that was cut off go on: see lineage.h. */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/lineage.h"

#define HEADING "sqlblock-lineage 1\n"

void
lineage_print (const struct lineage *lineage, char *text)
{
  snprintf (text, LINEAGE_TEXT,
            HEADING "durable %s\n"
                    "run %s\n"
                    "boot %s\n"
                    "file %s\n"
                    "database %s\n"
                    "disk %" PRId64 "\n"
                    "snapshot %" PRId64 "\n"
                    "epoch %" PRId64 "\n"
                    "size %" PRIu64 "\n",
            lineage->durable ? "yes" : "no", lineage->run, lineage->boot,
            lineage->file, lineage->database, lineage->disk, lineage->snapshot,
            lineage->epoch, lineage->size);
}

/* A line of TEXT that begins with NAME and a space: what is behind that goes
 * to VALUE, of SIZE bytes.
 */
static bool
find_line (const char *text, const char *name, char *value, size_t size)
{
  const size_t length = strlen (name);
  const char *line = text;

  while ((line = strchr (line, '\n')) != NULL) {
    line++;
    if (strncmp (line, name, length) == 0 && line[length] == ' ') {
      const char *begin = line + length + 1;
      const size_t count = strcspn (begin, "\n");

      if (count >= size || begin[count] != '\n')
        return false;
      memcpy (value, begin, count);
      value[count] = '\0';
      return true;
    }
  }
  return false;
}

static bool
find_number (const char *text, const char *name, uint64_t *number)
{
  char value[24], after;

  return find_line (text, name, value, sizeof value) && value[0] >= '0' &&
         value[0] <= '9' &&
         sscanf (value, "%" SCNu64 "%c", number, &after) == 1;
}

bool
lineage_parse (const char *text, struct lineage *lineage)
{
  uint64_t disk, snapshot, epoch;
  char durable[8];

  if (strncmp (text, HEADING, strlen (HEADING)) != 0 ||
      !find_line (text, "durable", durable, sizeof durable) ||
      !find_line (text, "run", lineage->run, sizeof lineage->run) ||
      !find_line (text, "boot", lineage->boot, sizeof lineage->boot) ||
      !find_line (text, "file", lineage->file, sizeof lineage->file) ||
      !find_line (text, "database", lineage->database,
                  sizeof lineage->database) ||
      !find_number (text, "disk", &disk) ||
      !find_number (text, "snapshot", &snapshot) ||
      !find_number (text, "epoch", &epoch) ||
      !find_number (text, "size", &lineage->size))
    return false;
  lineage->durable = strcmp (durable, "yes") == 0;
  lineage->disk = disk;
  lineage->snapshot = snapshot;
  lineage->epoch = epoch;
  return true;
}

const char *
lineage_broken (const struct lineage *before, const struct lineage *now)
{
  if (strcmp (before->database, now->database) != 0)
    return "the server has another database now";
  if (before->disk != now->disk || before->snapshot != now->snapshot)
    return "that name means another disk or snapshot now";
  if (before->epoch != now->epoch)
    return "the disk was rolled back";
  if (now->size < before->size)
    return "the disk has shrunk";
  /* What cannot change cannot be lost either. */
  if (before->snapshot != 0 || before->durable)
    return NULL;
  if (strcmp (before->boot, now->boot) != 0)
    return "the server's machine was started anew, or is another one, and may "
           "have lost what was acknowledged and not flushed";
  if (strcmp (before->file, now->file) != 0)
    return "the database is another file now: a copy that was put back?";
  return NULL;
}
