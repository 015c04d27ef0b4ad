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
tellers_count (struct tellers *told, uint64_t *teller, uint64_t newcomer)
{
  uint64_t times = 0;
  size_t at = 0;

  while (at < told->count && told->entries[at].teller != *teller)
    at++;
  if (at < told->count)
    times = told->entries[at].times;
  else {
    *teller = newcomer;
    at = told->count < TELLERS_MAX ? told->count++ : TELLERS_MAX - 1;
  }
  memmove (told->entries + 1, told->entries, at * sizeof told->entries[0]);
  told->entries[0].teller = *teller;
  told->entries[0].times = times + 1;
}

void
tellers_print (const struct tellers *told, char text[TELLERS_TEXT])
{
  text[0] = '\0';
  for (size_t i = 0; i < told->count; i++)
    text += sprintf (text, "told %016" PRIx64 " %" PRIu64 "\n",
                     told->entries[i].teller, told->entries[i].times);
}

void
tellers_parse (const char *text, struct tellers *told)
{
  const char *line = text;

  for (told->count = 0; line && told->count < TELLERS_MAX;
       line = strchr (line, '\n'), line = line ? line + 1 : NULL)
    if (sscanf (line, "told %16" SCNx64 " %" SCNu64,
                &told->entries[told->count].teller,
                &told->entries[told->count].times) == 2)
      told->count++;
}

/* Lacks NOW what was told last under BEFORE? */
static const char *
lacks_told (const struct lineage *before, const struct lineage *now)
{
  const struct tellers *told = &now->told;
  size_t at = 0;

  if (before->told.count == 0)
    return NULL;
  while (at < told->count &&
         told->entries[at].teller != before->told.entries[0].teller)
    at++;
  if (at < told->count &&
      told->entries[at].times >= before->told.entries[0].times)
    return NULL;
  return "the database lacks what it had: an older copy was put back, or it "
         "was repaired";
}

void
lineage_print (const struct lineage *lineage, char *text)
{
  const int length = snprintf (
      text, LINEAGE_TEXT,
      HEADING "durable %s\n"
              "run %s\n"
              "boot %s\n"
              "file %s\n"
              "born %s\n"
              "database %s\n"
              "disk %" PRId64 "\n"
              "snapshot %" PRIu64 "\n"
              "epoch %" PRId64 "\n"
              "shrunk %" PRIu64 "\n"
              "size %" PRIu64 "\n",
      lineage->durable ? "yes" : "no", lineage->run, lineage->boot,
      lineage->file, lineage->born, lineage->database, lineage->disk,
      lineage->snapshot, lineage->epoch, lineage->shrunk, lineage->size);

  tellers_print (&lineage->told, text + length);
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
  uint64_t disk, epoch;
  char durable[8];

  if (strncmp (text, HEADING, strlen (HEADING)) != 0 ||
      !find_line (text, "durable", durable, sizeof durable) ||
      !find_line (text, "run", lineage->run, sizeof lineage->run) ||
      !find_line (text, "boot", lineage->boot, sizeof lineage->boot) ||
      !find_line (text, "file", lineage->file, sizeof lineage->file) ||
      !find_line (text, "database", lineage->database,
                  sizeof lineage->database) ||
      !find_number (text, "disk", &disk) ||
      !find_number (text, "snapshot", &lineage->snapshot) ||
      !find_number (text, "epoch", &epoch) ||
      !find_number (text, "size", &lineage->size))
    return false;
  lineage->durable = strcmp (durable, "yes") == 0;
  lineage->disk = disk;
  lineage->epoch = epoch;
  /* Servers told less at first. */
  if (!find_number (text, "shrunk", &lineage->shrunk))
    lineage->shrunk = 0;
  if (!find_line (text, "born", lineage->born, sizeof lineage->born))
    lineage->born[0] = '\0';
  tellers_parse (text, &lineage->told);
  return true;
}

/* Is it the same file, also where another machine has it now?  What was told
 * last proves only what was there by then.
 */
static bool
is_same_file (const struct lineage *before, const struct lineage *now)
{
  return before->born[0] && now->born[0]
             ? strcmp (before->born, now->born) == 0
             : strcmp (before->file, now->file) == 0;
}

const char *
lineage_broken (const struct lineage *before, const struct lineage *now)
{
  if (now->disk == 0)
    return "the server has no such disk or snapshot any more";
  /* A file of an older format has no id, and gets one by an upgrade. */
  if (before->database[0] ? strcmp (before->database, now->database) != 0
                          : strcmp (before->file, now->file) != 0)
    return "the server has another database now";
  if (before->disk != now->disk || before->snapshot != now->snapshot)
    return "that name means another disk or snapshot now";
  if (before->epoch != now->epoch)
    return "the disk was rolled back";
  if (now->size < before->size || now->shrunk != before->shrunk)
    return "the disk has shrunk";
  /* What cannot change cannot be lost either. */
  if (before->snapshot != 0)
    return NULL;
  if (!before->durable && strcmp (before->boot, now->boot) != 0)
    return "the server's machine was started anew, or is another one, and may "
           "have lost what was acknowledged and not flushed";
  if (!is_same_file (before, now) ||
      (!before->durable && strcmp (before->file, now->file) != 0))
    return "the database is another file now: a copy that was put back?";
  return lacks_told (before, now);
}
