/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The command diff: the ranges of bytes in which two states of a disk differ.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

static bool diff_summary;

static const struct tool_option diff_options[] = {
  { "summary", 0, NULL, &diff_summary, "only how much, not where" },
  { NULL, 0, NULL, NULL, NULL },
};

/* How much differs; ranges are printed as they are found, since there may
 * be many.
 */
struct difference {
  uint64_t ranges, data, zeroes;
};

static int
print_range (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  struct difference *difference = opaque;
  const char *type = hole ? "zero" : "data";
  const bool first = difference->ranges++ == 0;

  *(hole ? &difference->zeroes : &difference->data) += count;
  if (diff_summary)
    return 0;
  if (common.json) {
    printf ("%s\n    { \"offset\": %" PRIu64 ", \"length\": %" PRIu64
            ", \"type\": \"%s\" }",
            first ? "" : ",", offset, count, type);
    return 0;
  }
  if (first)
    printf ("%20s  %20s  %s\n", "OFFSET", "LENGTH", "TYPE");
  printf ("%20" PRIu64 "  %20" PRIu64 "  %s\n", offset, count, type);
  return 0;
}

/* A member of the JSON; takes VALUE over. */
static void
print_member (const char *key, json_t *value)
{
  printf ("  \"%s\": ", key);
  json_dumpf (value, stdout, JSON_ENCODE_ANY);
  printf (",\n");
  json_decref (value);
}

static json_t *
time_json (const struct resolved *resolved)
{
  return resolved->time ? tool_json_string (resolved->time) : json_null ();
}

/* Say what is compared, before the ranges. */
static void
print_head (const struct resolved *from, const struct resolved *to)
{
  if (common.json) {
    puts ("{");
    print_member ("from", tool_json_string (from->name));
    print_member ("from_time", time_json (from));
    print_member ("from_size", tool_json_size (from->size));
    print_member ("to", tool_json_string (to->name));
    print_member ("to_time", time_json (to));
    print_member ("to_size", tool_json_size (to->size));
    if (!diff_summary)
      printf ("  \"ranges\": [");
  }
  else if (from->time || to->time)
    tool_say ("from %s to %s", from->text, to->text);
}

/* What lies behind the end of one of them is no difference of bytes. */
static void
say_sizes (const struct resolved *from, const struct resolved *to)
{
  char old[TOOL_SIZE_MAX], new[TOOL_SIZE_MAX];

  if (from->size > to->size)
    tool_say ("%s has %s, %s only %s: what was behind that is not listed",
              from->text, tool_amount (from->size, old), to->text,
              tool_amount (to->size, new));
  else if (from->size < to->size)
    tool_say ("%s has %s, %s has %s: what is new counts as zeroes before",
              from->text, tool_amount (from->size, old), to->text,
              tool_amount (to->size, new));
}

static void
print_summary (const struct difference *difference)
{
  char data[TOOL_SIZE_MAX], zeroes[TOOL_SIZE_MAX];

  if (common.json)
    printf ("%s  \"data\": %" PRIu64 ",\n  \"zero\": %" PRIu64 "\n}\n",
            diff_summary         ? ""
            : difference->ranges ? "\n  ],\n"
                                 : "],\n",
            difference->data, difference->zeroes);
  else if (diff_summary)
    printf ("%s of data, %s of zeroes\n", tool_amount (difference->data, data),
            tool_amount (difference->zeroes, zeroes));
}

static int
run_diff (int argc, char *argv[])
{
  const struct target target = tool_target (argv[1]);
  struct difference difference = { 0 };
  const char *second = argc > 2 ? argv[2] : target.disk;
  struct resolved from, to;
  struct status status;
  struct store *store;

  if (argc == 2 && target.snapshot == NULL)
    return tool_usage ("compare '%s' with what?  Give a snapshot of it "
                       "first, or two disks",
                       argv[1]);
  if (second[0] == '@')
    second = tool_format ("%s%s", target.disk, second);
  store = tool_open (argv[0], false);
  /* All that can fail does before anything is printed. */
  if (tool_resolve (store, argv[1], &from, &status) == -1 ||
      tool_resolve (store, second, &to, &status) == -1)
    return tool_fail (&status);
  if (from.block_size != to.block_size)
    return tool_error (EINVAL,
                       "%s has blocks of %" PRIu32 " bytes, %s of %" PRIu32
                       ": only what has blocks of the same size can be "
                       "compared",
                       from.text, from.block_size, to.text, to.block_size);
  print_head (&from, &to);
  if (manage_diff (store, from.name, to.name, print_range, &difference,
                   &status) == -1)
    return tool_fail (&status);
  print_summary (&difference);
  if (difference.ranges == 0 && !common.json && !diff_summary)
    tool_say ("no differences");
  say_sizes (&from, &to);
  return TOOL_DONE;
}

const struct command command_diff = {
  .name = "diff",
  .arguments = "DATABASE DISK@SNAPSHOT [DISK][@SNAPSHOT]",
  .summary = "Show where a disk differs from a snapshot, or two snapshots",
  .help =
      "Lists the ranges of bytes in which the second differs from the first.\n"
      "Without a second it is the disk as it is now; @SNAPSHOT is another\n"
      "snapshot of the same disk.  TYPE says what the second has there:\n"
      "data or zero.  Ranges are whole blocks; one that was written with\n"
      "what it had before counts as well.  SNAPSHOT may be a time.\n"
      "\n"
      "The exit code is 0 whether they differ or not.  Ranges end where the\n"
      "second ends; stderr tells where their sizes differ.  The JSON has from\n"
      "and to, for each _time (what stood for it, or null) and _size, ranges\n"
      "(each with offset, length, type), and how many bytes of data and zero\n"
      "they are.\n"
      "\n"
      "Examples: sqlblock diff disks.sqlite web@monday\n"
      "          sqlblock diff disks.sqlite web@monday @tuesday --summary\n",
  .options = diff_options,
  .common = COMMON_JSON,
  .least = 2,
  .most = 3,
  .run = run_diff,
};
