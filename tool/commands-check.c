/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* check: what is wrong with a database, mend it, or save what can be read. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "tool.h"

static bool repair, zero_lost, accept_file;
static const char *salvage;

/* At most this many problems are in the JSON; all are counted. */
#define JSON_PROBLEMS 10000

static const struct tool_option check_options[] = {
  { "repair", 0, NULL, &repair, "mend what can be mended" },
  { "accept", 0, NULL, &accept_file,
    "if nothing is wrong, take a file whose write-ahead\n"
    "log is missing as it is" },
  { "salvage", 0, "FILE", &salvage,
    "change nothing, but copy what can be read into the\n"
    "new database FILE, and check that" },
  { "zero-lost", 0, NULL, &zero_lost,
    "with --salvage: list the blocks that are lost, then\n"
    "have them read as zeroes, not fail" },
  { NULL, 0, NULL, NULL, NULL },
};

/* What is printed at the end. */
struct report {
  json_t *problems, *mended;     /* with --json */
  struct salvage_counts salvage; /* with --salvage */
};

/*--------------------------------------------------------------------
 * Problems.
 */

/* Does SQLite, a checksum or a rule say that it can be mended? */
static bool
is_mendable (const struct check_problem *problem)
{
  return problem->mend != MEND_NOT && problem->mend != MEND_BLOCK;
}

static json_t *
json_shown (const struct check_problem *problem)
{
  json_t *array = json_array (), *object;
  struct target target;

  for (size_t i = 0; i < problem->shown_count; i++) {
    target = tool_target (problem->shown[i]);
    object = json_object ();
    json_object_set_new (object, "disk", tool_json_string (target.disk));
    json_object_set_new (object, "snapshot",
                         target.snapshot ? tool_json_string (target.snapshot)
                                         : json_null ());
    json_array_append_new (array, object);
    free (target.disk);
  }
  return array;
}

static void
add_json (json_t *array, const struct check_problem *problem)
{
  json_t *object = json_object ();
  const bool is_block = problem->layer != 0;

  if (json_array_size (array) == JSON_PROBLEMS) {
    json_decref (object);
    return;
  }
  json_object_set_new (object, "kind",
                       tool_json_string (check_kind_name (problem->kind)));
  json_object_set_new (object, "message", tool_json_string (problem->message));
  json_object_set_new (object, "mendable",
                       json_boolean (is_mendable (problem)));
  json_object_set_new (object, "shown_by", json_shown (problem));
  json_object_set_new (object, "shown_by_count",
                       json_integer (problem->shown_total));
  json_object_set_new (object, "offset",
                       problem->count ? tool_json_size (problem->offset)
                                      : json_null ());
  json_object_set_new (object, "size",
                       problem->count ? tool_json_size (problem->count)
                                      : json_null ());
  json_object_set_new (object, "layer",
                       is_block ? json_integer (problem->layer) : json_null ());
  json_object_set_new (object, "block",
                       is_block ? json_integer (problem->number)
                                : json_null ());
  json_object_set_new (object, "generation",
                       is_block ? json_integer (problem->generation)
                                : json_null ());
  json_array_append_new (array, object);
}

/* "web, web@monday and 3 others", a new string. */
static char *
shown_text (const struct check_problem *problem)
{
  char *text = tool_strdup (""), *longer;

  for (size_t i = 0; i < problem->shown_count; i++) {
    longer = tool_format ("%s%s%s", text, i ? ", " : "", problem->shown[i]);
    free (text);
    text = longer;
  }
  if (problem->shown_total > problem->shown_count) {
    longer = tool_format (
        "%s and %s", text,
        tool_count (problem->shown_total - problem->shown_count, "other"));
    free (text);
    text = longer;
  }
  return text;
}

static void
print_problem (const struct check_problem *problem)
{
  char *shown = shown_text (problem);

  if (problem->count)
    tool_print ("%s: %s: byte %" PRIu64 ": %s", check_kind_name (problem->kind),
                shown, problem->offset, problem->message);
  else if (shown[0])
    tool_print ("%s: %s: %s", check_kind_name (problem->kind), shown,
                problem->message);
  else
    tool_print ("%s: %s", check_kind_name (problem->kind), problem->message);
  free (shown);
}

static void
found (const struct check_problem *problem, void *opaque)
{
  struct report *report = opaque;

  if (report->problems)
    add_json (report->problems, problem);
  else
    print_problem (problem);
}

static int
progress (uint64_t done, uint64_t total, void *opaque)
{
  (void)opaque;
  return tool_progress (done, total, NULL);
}

/*--------------------------------------------------------------------
 * check
 */

static void
print_json (struct report *report, const struct check_counts *counts)
{
  json_t *object = json_object ();

  json_object_set_new (object, "problems", report->problems);
  json_object_set_new (object, "problem_count",
                       json_integer (counts->problems));
  json_object_set_new (
      object, "lost",
      salvage ? json_integer (report->salvage.lost + report->salvage.unknown)
              : json_null ());
  json_object_set_new (object, "leftovers", json_integer (counts->leftovers));
  json_object_set_new (object, "unknown_blocks",
                       json_integer (counts->unknown));
  json_object_set_new (object, "pages_without_checksum",
                       json_integer (counts->without_checksum));
  json_object_set_new (object, "file_checked",
                       json_boolean (!counts->file_not_checked));
  json_object_set_new (object, "disks", json_integer (counts->disks));
  json_object_set_new (object, "snapshots", json_integer (counts->snapshots));
  json_object_set_new (object, "layers", json_integer (counts->layers));
  json_object_set_new (object, "blocks", json_integer (counts->blocks));
  json_object_set_new (object, "bytes", tool_json_size (counts->bytes));
  json_object_set_new (object, "mended", report->mended);
  tool_json_print (object);
}

static void
say_counts (const struct check_counts *counts)
{
  char text[TOOL_SIZE_MAX];

  tool_say ("%s, %s, %s (%s) checked: %s", tool_count (counts->disks, "disk"),
            tool_count (counts->snapshots, "snapshot"),
            tool_count (counts->blocks, "block"),
            tool_amount (counts->bytes, text),
            tool_count (counts->problems, "problem"));
  if (counts->unknown > 0)
    tool_say ("%s stored in a way that this program does not know; a newer "
              "one, or one that was built with it, reads them",
              tool_count (counts->unknown, "block"));
  if (counts->without_checksum > 0)
    tool_say ("%s without a checksum, since another program wrote there; a "
              "server gives them one some time later, and --repair now",
              tool_count (counts->without_checksum, "page"));
  if (counts->file_not_checked)
    tool_error (0,
                "the structures of the file were not checked: others write so "
                "much that the log would have grown without limit");
}

/* Say what can be done about what was found. */
static void
say_what_helps (const char *path, const struct check_counts *counts)
{
  if (counts->problems == 0)
    return;
  if (zero_lost)
    tool_say ("what is lost reads as zeroes now, or as an older version that "
              "was found");
  else if (!salvage)
    tool_say ("%s\"sqlblock check --salvage=FILE %s\" copies what can be read",
              repair ? "" : "--repair mends what can be mended; ", path);
}

/* The database cannot even be opened. */
static int
fail_open (struct report *report, const struct status *status)
{
  const struct check_problem problem = {
    .kind = CHECK_FILE,
    .message = status->message,
  };
  const struct check_counts counts = { .problems = 1 };

  if (status->error != EIO && status->error != EINVAL)
    return tool_fail (status);
  if (report->problems == NULL)
    return tool_fail (status) == TOOL_FAILED ? TOOL_DAMAGED : TOOL_FAILED;
  add_json (report->problems, &problem);
  print_json (report, &counts);
  return TOOL_DAMAGED;
}

static void
note_mended (const char *message, int error, void *opaque)
{
  struct report *report = opaque;

  if (error)
    tool_error (error, "%s", message);
  else if (report->mended)
    json_array_append_new (report->mended, tool_json_string (message));
  else
    tool_say ("mended: %s", message);
}

static int
mend (struct store *store, const char *path, struct report *report,
      struct status *status)
{
  const struct repair_options options = {
    .corrections = CORRECT_ROWS,
    .mended = note_mended,
    .progress = progress,
    .opaque = report,
  };
  struct check_counts before;
  int r;

  tool_progress_begin (tool_format ("repairing %s", path));
  r = repair_database (store, &options, &before, status);
  tool_progress_end (r);
  return r;
}

static bool
is_sound (const struct check_counts *counts)
{
  return counts->problems == 0 && !counts->file_not_checked;
}

static int
accept_it (struct store *store, struct report *report, struct status *status)
{
  if (store_accept (store, status) == -1)
    return -1;
  note_mended ("the file is taken as it is, without the write-ahead log that "
               "it had",
               0, report);
  return 0;
}

static int
check (struct store *store, const char *path, struct report *report)
{
  const struct check_options options = {
    .found = found,
    .progress = progress,
    .opaque = report,
  };
  struct check_counts counts;
  struct status status;
  int r = 0;

  if (repair)
    r = mend (store, path, report, &status);
  if (r == 0) {
    tool_progress_begin (tool_format ("checking %s", path));
    r = check_database (store, &options, &counts, &status);
    tool_progress_end (r);
  }
  if (r == 0 && accept_file && is_sound (&counts))
    r = accept_it (store, report, &status);
  if (r == 0 && zero_lost)
    r = salvage_zero_lost (store, &status);
  if (r == -1)
    return tool_fail (&status);
  counts.problems += report->salvage.losses;
  if (common.json)
    print_json (report, &counts);
  say_counts (&counts);
  say_what_helps (path, &counts);
  return counts.problems > 0       ? TOOL_DAMAGED
         : counts.file_not_checked ? TOOL_BUSY
                                   : TOOL_DONE;
}

/*--------------------------------------------------------------------
 * --salvage
 */

/* Something is lost. */
static void
note_loss (const char *message, void *opaque)
{
  const struct check_problem problem = {
    .kind = CHECK_FILE,
    .message = message,
  };

  found (&problem, opaque);
}

static void
say_line (const char *message, void *opaque)
{
  (void)opaque;
  tool_error (0, "%s", message);
}

static void
say_saved (const struct salvage_counts *counts)
{
  char text[TOOL_SIZE_MAX];

  tool_say ("saved %s, %s, %s (%s), of which %s had a wrong byte that was set "
            "right; lost %s",
            tool_count (counts->disks, "disk"),
            tool_count (counts->snapshots, "snapshot"),
            tool_count (counts->blocks, "block"),
            tool_amount (counts->bytes, text),
            tool_count (counts->corrected, "row"),
            tool_count (counts->lost, "block"));
  if (counts->unknown > 0)
    tool_error (0, "of %s more it is not known what was there%s",
                tool_count (counts->unknown, "block"),
                zero_lost ? "" : "; reading that is an error");
  if (counts->unreadable > 0)
    tool_error (EIO, "%s could not be read",
                tool_count (counts->unreadable, "page"));
}

/* Copy what can be read into a new file. */
static int
save (const char *path, struct report *report)
{
  const struct salvage_options options = {
    .zero_lost = zero_lost,
    .corrections = CORRECT_ROWS,
    .lose = note_loss,
    .say = say_line,
    .progress = progress,
    .opaque = report,
  };
  struct status status;
  int r;

  if (tool_check_output (path, salvage, &status) == -1)
    return tool_fail (&status);
  tool_progress_begin (tool_format ("salvaging %s", path));
  r = salvage_database (path, salvage, &options, &report->salvage, &status);
  tool_progress_end (r);
  if (r == -1)
    return tool_fail (&status);
  say_saved (&report->salvage);
  return TOOL_DONE;
}

/* Open the file; where it can be opened with its log, --accept has nothing to
 * do.
 */
static struct store *
open_file (const char *path, struct status *status)
{
  struct store *store = NULL;

  if (accept_file) {
    store = tool_try_open (path, true, true, false, status);
    if (store) {
      tool_say ("%s lacks no log: there is nothing to accept", path);
      accept_file = false;
    }
  }
  return store ? store
               : tool_try_open (path, repair || accept_file, true, accept_file,
                                status);
}

static int
run_check (int argc, char *argv[])
{
  struct report report = {
    .problems = common.json ? json_array () : NULL,
    .mended = common.json ? json_array () : NULL,
  };
  const char *path = salvage ? salvage : argv[0];
  struct status status;
  struct store *store;
  int code;

  (void)argc;
  if (common.control && (salvage || repair || accept_file))
    return tool_alone ("check with --salvage, --repair or --accept");
  if (salvage && repair)
    return tool_usage ("--salvage and --repair exclude each other");
  if (accept_file && (salvage || repair))
    return tool_usage ("--accept goes without --salvage and --repair");
  if (zero_lost && !salvage)
    return tool_usage ("--zero-lost needs --salvage");
  if (salvage) {
    code = save (argv[0], &report);
    if (code != TOOL_DONE)
      return code;
  }
  store = open_file (path, &status);
  return store ? check (store, path, &report) : fail_open (&report, &status);
}

const struct command command_check = {
  .name = "check",
  .arguments = "DATABASE",
  .summary = "Look for damage, and mend what can be mended",
  .help =
      "Reads everything: the structures of the file, every block against its\n"
      "checksum, and whether disks, snapshots and layers fit together. Each\n"
      "problem is a line that says where it is. A server may run meanwhile.\n"
      "Exit code 6 says that something is wrong.\n"
      "\n"
      "--repair mends what can be mended without losing anything. --salvage\n"
      "takes all that can be read out of a database, even if SQLite cannot\n"
      "open it any more. Reading a block that is lost is then an error.\n"
      "--accept is for a file whose write-ahead log is lost: if everything in\n"
      "it fits together, it is used as it is. What was written last is not\n"
      "there, and no check can tell whether blocks are of different times.\n",
  .options = check_options,
  .common = COMMON_JSON | COMMON_PROGRESS,
  .least = 1,
  .most = 1,
  .run = run_check,
};
