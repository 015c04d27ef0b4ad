/* The command diff: the ranges of bytes in which two states of a disk differ.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

static bool diff_summary;

static const struct tool_option diff_options[] = {
  { "summary", 's', NULL, &diff_summary, "only how much, not where" },
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

/* One of the names of the two, as a member of the JSON. */
static void
print_member (const char *key, const char *name)
{
  json_t *value = tool_json_string (name);

  printf ("  \"%s\": ", key);
  json_dumpf (value, stdout, JSON_ENCODE_ANY);
  printf (",\n");
  json_decref (value);
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
    printf ("%s of data, %s of zeroes\n", tool_size (difference->data, data),
            tool_size (difference->zeroes, zeroes));
}

/* Does TEXT name a disk or snapshot that is there? */
static int
check_target (struct store *store, const char *text)
{
  struct snapshot_info snapshot;
  struct disk_info disk;
  struct status status;
  const int r = strchr (text, '@')
                    ? manage_find_snapshot (store, text, &snapshot, &status)
                    : store_find (store, text, &disk, &status);

  return r == -1 ? tool_fail (&status) : TOOL_DONE;
}

static int
run_diff (int argc, char *argv[])
{
  const struct target from = tool_target (argv[1]);
  struct difference difference = { 0 };
  const char *to = argc > 2 ? argv[2] : from.disk;
  struct status status;
  struct store *store;
  int code;

  if (argc == 2 && from.snapshot == NULL)
    return tool_usage ("compare '%s' with what?  Give a snapshot of it "
                       "first, or two disks",
                       argv[1]);
  if (to[0] == '@')
    to = tool_format ("%s%s", from.disk, to);
  store = tool_open (argv[0], false);
  /* Before anything is printed. */
  code = check_target (store, argv[1]);
  if (code == TOOL_DONE)
    code = check_target (store, to);
  if (code != TOOL_DONE)
    return code;
  if (common.json) {
    puts ("{");
    print_member ("from", argv[1]);
    print_member ("to", to);
    if (!diff_summary)
      printf ("  \"ranges\": [");
  }
  if (manage_diff (store, argv[1], to, print_range, &difference, &status) == -1)
    return tool_fail (&status);
  print_summary (&difference);
  if (difference.ranges == 0 && !common.json && !diff_summary)
    tool_say ("no differences");
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
      "The exit code is 0 whether they differ or not.  The JSON has from,\n"
      "to, ranges (each with offset, length, type), and how many bytes of\n"
      "data and zero they are.\n"
      "\n"
      "Examples: sqlblock diff disks.sqlite web@monday\n"
      "          sqlblock diff disks.sqlite web@monday @tuesday --summary\n",
  .options = diff_options,
  .common = COMMON_JSON,
  .least = 2,
  .most = 3,
  .run = run_diff,
};
