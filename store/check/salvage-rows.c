/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Which rows are true: see salvage.c. */

#include <config.h>

#include <string.h>

#include "block/checksum.h"
#include "block/codec.h"
#include "check/salvage-parts.h"

/*--------------------------------------------------------------------
 * Telling the truth from damage.
 */

/* What row_checksum hashes. */
struct sum {
  unsigned char bytes[16384];
  size_t length;
};

static bool
add_bytes (struct sum *sum, const void *bytes, size_t length)
{
  if (length > sizeof sum->bytes - sum->length)
    return false;
  memcpy (sum->bytes + sum->length, bytes, length);
  sum->length += length;
  return true;
}

static bool
add_number (struct sum *sum, unsigned char type, uint64_t number)
{
  unsigned char bytes[9] = { type };

  for (int i = 0; i < 8; i++)
    bytes[1 + i] = number >> 8 * i;
  return add_bytes (sum, bytes, sizeof bytes);
}

static bool
add_text (struct sum *sum, unsigned char type, const void *text, size_t length)
{
  return add_number (sum, type, length) && add_bytes (sum, text, length);
}

static bool
add_value (struct sum *sum, const struct value *value)
{
  switch (value->type) {
  case VALUE_NULL:
    return add_bytes (sum, "", 1);
  case VALUE_INTEGER:
    return add_number (sum, 1, value->integer);
  case VALUE_TEXT:
    return add_text (sum, 3, value->bytes, value->length);
  case VALUE_BLOB:
    return add_text (sum, 4, value->bytes, value->length);
  default:
    return false;
  }
}

/* Is the last value the row_checksum of the others, in table NAME? */
static bool
has_row_checksum (const char *name, const struct record *row)
{
  const struct value *stored = &row->values[row->count - 1];
  struct sum sum = { .length = 0 };

  if (row->values[0].type != VALUE_NULL || stored->type != VALUE_INTEGER ||
      !add_text (&sum, 3, name, strlen (name)) ||
      !add_number (&sum, 1, row->id))
    return false;
  for (unsigned i = 1; i + 1 < row->count; i++)
    if (!add_value (&sum, &row->values[i]))
      return false;
  return (uint64_t)stored->integer == checksum_bytes (sum.bytes, sum.length);
}

bool
row_has_integers (const struct record *row, unsigned first, unsigned last)
{
  for (unsigned i = first; i <= last; i++)
    if (row->values[i].type != VALUE_INTEGER)
      return false;
  return true;
}

static bool
is_block (const struct record *row)
{
  const struct value *value = row->values;
  const bool refers = value[4].integer == CODEC_CONTENT;
  const bool has_data = !refers && value[4].integer != CODEC_ZERO;

  if (row->id < 1 || value[0].type != VALUE_NULL ||
      !row_has_integers (row, 1, 5) ||
      value[6].type != (refers ? VALUE_INTEGER : VALUE_NULL) ||
      value[7].type != (has_data ? VALUE_BLOB : VALUE_NULL))
    return false;
  return checksum_fits (&(struct block_row){
      .layer = value[1].integer,
      .number = value[2].integer,
      .generation = value[3].integer,
      .codec = value[4].integer,
      .checksum = value[5].integer,
      .content = value[6].integer,
      .data = value[7].bytes,
      .length = value[7].length,
  });
}

static bool
is_content (const struct record *row)
{
  const struct value *value = row->values;

  return value[0].type == VALUE_NULL && row_has_integers (row, 1, 4) &&
         value[5].type == VALUE_BLOB &&
         value[4].integer ==
             checksum_content (
                 row->id, value[1].integer, value[2].integer, value[3].integer,
                 checksum_bytes (value[5].bytes, value[5].length));
}

/* Two tables have as many columns as layers, or as contents: */
_Static_assert((int)FEATURE_COLUMNS == (int)LAYER_COLUMNS &&
                   (int)PROPERTY_COLUMNS == (int)CONTENT_COLUMNS,
               "true_kind tries both");

/* What a row must be, since its checksum is right. */
static enum row_kind
true_kind (const struct record *row)
{
  switch (row->count) {
  case LAYER_COLUMNS:
    return has_row_checksum ("layer", row)     ? ROW_LAYER
           : has_row_checksum ("feature", row) ? ROW_FEATURE
                                               : ROW_UNKNOWN;
  case DISK_COLUMNS:
    return has_row_checksum ("disk", row) ? ROW_DISK : ROW_UNKNOWN;
  case SNAPSHOT_COLUMNS:
    return has_row_checksum ("snapshot", row) ? ROW_SNAPSHOT : ROW_UNKNOWN;
  case BLOCK_COLUMNS:
    return is_block (row) ? ROW_BLOCK : ROW_UNKNOWN;
  case CONTENT_COLUMNS:
    return is_content (row)                     ? ROW_CONTENT
           : has_row_checksum ("property", row) ? ROW_PROPERTY
                                                : ROW_UNKNOWN;
  case RECLAIM_COLUMNS:
    return row->values[0].type == VALUE_NULL && row_has_integers (row, 1, 2)
               ? ROW_RECLAIM
               : ROW_UNKNOWN;
  default:
    return ROW_UNKNOWN;
  }
}

enum row_kind
row_parse (const unsigned char *payload, const struct cell *cell,
           struct record *row)
{
  row->id = cell->rowid;
  row->count = record_parse (payload, cell->length, row->values);
  row->kind = row->count ? true_kind (row) : ROW_UNKNOWN;
  return row->kind;
}

/*--------------------------------------------------------------------
 * Setting a byte right.
 */

struct correction {
  struct salvage *salvage;
  unsigned offset; /* of the cell on its page */
  struct cell cell;
  struct record row;
};

static bool
is_true (const struct correction *correction)
{
  return correction->row.kind != ROW_UNKNOWN &&
         correction->row.kind != ROW_RECLAIM;
}

/* Is the payload, as it is now, that of a true row? */
static bool
payload_is_true (void *opaque)
{
  struct correction *correction = opaque;

  row_parse (correction->salvage->payload, &correction->cell, &correction->row);
  return is_true (correction);
}

/* Is the cell, as it is now on its page, a true row? */
static bool
cell_is_true (void *opaque)
{
  struct correction *correction = opaque;
  struct salvage *salvage = correction->salvage;

  return rawfile_read_cell (salvage->pages, TABLE_LEAF, correction->offset,
                            &correction->cell, salvage->payload) &&
         payload_is_true (opaque);
}

bool
salvage_correct (struct salvage *salvage, unsigned offset, struct record *row)
{
  struct correction correction = { .salvage = salvage, .offset = offset };
  struct rawfile *pages = salvage->pages;
  const size_t head = pages->usable - offset < 20 ? pages->usable - offset : 20;
  bool done;

  if (salvage->corrections == salvage->options->corrections)
    return false;
  salvage->corrections++;
  done = correct_byte (pages->page + offset, head, pages->usable, cell_is_true,
                       &correction);
  if (!done && rawfile_read_cell (pages, TABLE_LEAF, offset, &correction.cell,
                                  salvage->payload))
    done = correct_byte (salvage->payload, correction.cell.length,
                         correction.cell.length, payload_is_true, &correction);
  if (done) {
    salvage->counts->corrected++;
    *row = correction.row;
  }
  return done;
}
