/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Checking through a server: see check-call.h. */

#include <config.h>

#include <errno.h>

#include "check/check-call.h"
#include "engine/engine.h"

static const struct field shown_fields[] = {
  { .kind = FIELD_CHARS, .size = DISK_TARGET_MAX + 1 },
  FIELD_END,
};

static const struct field problem_fields[] = {
  FIELD (struct check_problem, kind, "kind", UNSIGNED),
  FIELD (struct check_problem, mend, "mend", UNSIGNED),
  FIELD (struct check_problem, subject, "subject", SIGNED),
  FIELD (struct check_problem, message, "message", TEXT),
  FIELD (struct check_problem, layer, "layer", SIGNED),
  FIELD (struct check_problem, number, "number", SIGNED),
  FIELD (struct check_problem, generation, "generation", SIGNED),
  FIELD (struct check_problem, offset, "offset", UNSIGNED),
  FIELD (struct check_problem, count, "count", UNSIGNED),
  FIELD_ARRAY_OF (struct check_problem, shown, shown_count, "shown",
                  shown_fields),
  FIELD (struct check_problem, shown_total, "shown_total", UNSIGNED),
  FIELD_END,
};

static const struct field counts_fields[] = {
  FIELD (struct check_counts, disks, "disks", UNSIGNED),
  FIELD (struct check_counts, snapshots, "snapshots", UNSIGNED),
  FIELD (struct check_counts, layers, "layers", UNSIGNED),
  FIELD (struct check_counts, blocks, "blocks", UNSIGNED),
  FIELD (struct check_counts, bytes, "bytes", UNSIGNED),
  FIELD (struct check_counts, problems, "problems", UNSIGNED),
  FIELD (struct check_counts, leftovers, "leftovers", UNSIGNED),
  FIELD (struct check_counts, unknown, "unknown", UNSIGNED),
  FIELD (struct check_counts, without_checksum, "without_checksum", UNSIGNED),
  FIELD (struct check_counts, file_not_checked, "file_not_checked", BOOL),
  FIELD_END,
};

const struct field check_fields[] = {
  FIELD_OF (struct check_call, counts, "counts", counts_fields),
  FIELD_OF (struct check_call, problem, CHECK_CALL_FOUND, problem_fields),
  FIELD_END,
};

const struct call_type call_check_database = { "check_database", "", "counts",
                                               check_fields,
                                               sizeof (struct check_call) };

/* Take a problem that the server has found. */
static int
take_problem (const json_t *json, void *opaque)
{
  const struct check_options *options = opaque;
  struct check_call call = { .problem.count = 0 };
  struct message_memory memory = { 0 };
  struct status unclear;
  int r = message_read (check_fields, CHECK_CALL_FOUND, false, json, &call,
                        &memory, &unclear);

  if (r == 0 && call.problem.kind > CHECK_LEFTOVER)
    r = status_fail (&unclear, EIO, "the server has found what has no name");
  if (r == -1) {
    call.problem = (struct check_problem){ .kind = CHECK_FILE };
    call.problem.message = unclear.message;
  }
  options->found (&call.problem, options->opaque);
  message_memory_free (&memory);
  return 0;
}

int
check_on_server (struct store *store, const struct check_options *options,
                 struct check_counts *counts, struct status *status)
{
  struct check_options told = *options;
  const struct remote_more more = {
    .progress = options->progress,
    .opaque = options->opaque,
    .found = options->found ? take_problem : NULL,
    .found_opaque = &told,
  };
  struct check_call call = { .problem.count = 0 };
  const int r = remote_call (store_remote (store), &call_check_database, &call,
                             &more, status);

  *counts = call.counts;
  return r;
}
