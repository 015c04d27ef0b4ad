/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* stream info: what is in a stream, and whether it is complete and right.
 *
 * It is read to its end as "receive" would read it, with all its checksums, and
 * nothing is made of it.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stream.h"
#include "tool.h"

/* As many are remembered, to be shown; a hostile input may have any number. */
#define SHOWN_MAX 100000

/* A stream that was read. */
struct seen {
  struct stream_header header;
  uint32_t version;
  struct stream_counts counts;
  uint64_t bytes;
  size_t properties, features;
  bool complete;
};

struct looking {
  struct stream stream;
  struct seen *list; /* the first SHOWN_MAX of them */
  uint64_t count;
  bool complete; /* and right: all of them */
  struct status status;
};

/* Remember the stream that was read, COMPLETE or as far as it goes. */
static void
remember (struct looking *looking, bool complete)
{
  const struct stream *stream = &looking->stream;

  if (looking->count < SHOWN_MAX) {
    looking->list = tool_realloc (looking->list,
                                  (looking->count + 1) * sizeof *looking->list);
    looking->list[looking->count] = (struct seen){
      .header = stream->header,
      .version = stream->version,
      .counts = stream->counts,
      .bytes = stream->bytes - stream->begins,
      .properties = stream->optional.property_count,
      .features = stream->optional.feature_count,
      .complete = complete,
    };
  }
  looking->count++;
}

/* Read the stream that was opened to its end. */
static int
read_stream (struct looking *looking)
{
  struct stream *stream = &looking->stream;
  struct stream_range range;
  int r;

  while ((r = stream_read (stream, &range, &looking->status)) == 1)
    if (progress_report (tool_progress, range.offset, stream->header.size, NULL,
                         &looking->status) == -1)
      return -1;
  remember (looking, r == 0);
  return r;
}

/* Read all that comes from FD.  Returns an exit code. */
static int
look (struct looking *looking, int fd)
{
  int r;

  tool_progress_begin ("reading the stream");
  r = stream_open (&looking->stream, fd, tool_interrupted, &looking->status);
  if (r == 0)
    do {
      r = read_stream (looking);
      if (r == 0)
        r = stream_next (&looking->stream, &looking->status);
    } while (r == 1);
  tool_progress_end (r);
  looking->complete = r == 0;
  stream_close (&looking->stream);
  if (r == 0)
    return TOOL_DONE;
  /* What is no stream at all is no damage of one. */
  return looking->status.error == EINVAL && looking->stream.bytes > 0 &&
                 looking->stream.foreign_count == 0
             ? TOOL_DAMAGED
             : TOOL_FAILED;
}

static char *
guid_text (int64_t guid)
{
  return tool_format ("%016" PRIx64, (uint64_t)guid);
}

/* What it begins with, for people; "" where that is nothing. */
static char *
base_of (const struct stream_header *header)
{
  if (header->base_guid == 0)
    return tool_strdup ("");
  return tool_format ("%s@%s", header->clone ? header->base_disk : header->disk,
                      header->base);
}

static void
print_streams (const struct looking *looking)
{
  static const char *const titles[] = { "SNAPSHOT", "FROM",    ">SIZE", ">DATA",
                                        ">STREAM",  "CREATED", NULL };
  struct tool_table *table = tool_table (titles);

  for (size_t i = 0; i < looking->count && i < SHOWN_MAX; i++) {
    const struct seen *seen = &looking->list[i];
    char *base = base_of (&seen->header);

    tool_cell (table, "%s@%s%s", seen->header.disk, seen->header.snapshot,
               seen->complete ? "" : " (in part)");
    tool_cell (table, "%s%s", base, seen->header.clone ? " (clone)" : "");
    tool_cell_size (table, seen->header.size);
    tool_cell_size (table, seen->counts.data);
    tool_cell_size (table, seen->bytes);
    tool_cell_time (table, seen->header.created);
    free (base);
  }
  tool_table_print (table);
}

static json_t *
text_or_null (bool said, char *text)
{
  json_t *value = said ? tool_json_string (text) : json_null ();

  free (text);
  return value;
}

static json_t *
compression_of (const struct stream_header *header)
{
  char text[COMPRESSION_TEXT];

  if (header->storing.compression.codec == 0)
    return json_null ();
  store_print_compression (&header->storing.compression, text);
  return tool_json_string (text);
}

static json_t *
seen_json (const struct seen *seen)
{
  const struct stream_header *header = &seen->header;
  const bool based = header->base_guid != 0;
  const bool part = header->count > 0;

  return json_pack (
      "{s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:i, s:o, s:o, s:i, s:o, s:o,"
      " s:i, s:i, s:o, s:o, s:o, s:b}",
      "disk", tool_json_string (header->disk), "description",
      text_or_null (header->description[0], tool_strdup (header->description)),
      "snapshot", tool_json_string (header->snapshot), "guid",
      text_or_null (true, guid_text (header->guid)), "from",
      text_or_null (based, base_of (header)), "from_guid",
      text_or_null (based, guid_text (header->base_guid)), "clone",
      header->clone, "size", tool_json_size (header->size), "block_size",
      (int)header->block_size, "created", tool_json_time (header->created),
      "compression", compression_of (header), "version", (int)seen->version,
      "part", part ? json_integer (header->number) : json_null (), "parts",
      part ? json_integer (header->count) : json_null (), "properties",
      (int)seen->properties, "features", (int)seen->features, "data",
      tool_json_size (seen->counts.data), "zeroes",
      tool_json_size (seen->counts.zeroes), "bytes",
      tool_json_size (seen->bytes), "complete", seen->complete);
}

static void
print_json (const struct looking *looking)
{
  json_t *streams = json_array ();

  for (size_t i = 0; i < looking->count && i < SHOWN_MAX; i++)
    json_array_append_new (streams, seen_json (&looking->list[i]));
  tool_json_print (json_pack (
      "{s:b, s:o, s:I, s:o, s:o}", "complete", looking->complete, "problem",
      looking->complete ? json_null ()
                        : tool_json_string (looking->status.message),
      "count", (json_int_t)looking->count, "bytes",
      tool_json_size (looking->stream.bytes), "streams", streams));
}

/* Open FILE, or standard input where there is none. */
static int
open_file (const char *file)
{
  const int fd = file && strcmp (file, "-") != 0
                     ? open (file, O_RDONLY | O_CLOEXEC)
                     : STDIN_FILENO;

  if (fd == -1)
    exit (tool_error (errno, "%s: %s", file, strerror (errno)));
  if (isatty (fd))
    exit (tool_error (EINVAL, "a stream is not read from a terminal; give a "
                              "file or a pipe from \"sqlblock send\""));
  return fd;
}

static int
run_stream_info (int argc, char *argv[])
{
  const int fd = open_file (argc > 0 ? argv[0] : NULL);
  struct looking looking = { .count = 0 };
  const int code = look (&looking, fd);

  if (fd != STDIN_FILENO)
    close (fd);
  if (common.json && (looking.count > 0 || looking.complete))
    print_json (&looking);
  else if (looking.count > 0)
    print_streams (&looking);
  free (looking.list);
  if (code != TOOL_DONE) {
    tool_fail (&looking.status);
    return code;
  }
  tool_say ("%s, complete: all checksums are right",
            tool_count (looking.count, "stream"));
  return TOOL_DONE;
}

const struct command command_stream_info = {
  .name = "stream info",
  .arguments = "[FILE]",
  .summary = "Say what is in a stream, and check it",
  .help =
      "Reads what \"sqlblock send\" has written, from FILE or standard input,\n"
      "to its end, and says which snapshots it has, and what each begins\n"
      "with.  All checksums are verified.  If a part is missing or damaged,\n"
      "the exit code is 6.\n"
      "\n"
      "  sqlblock send disks.sqlite web@monday | tee web | "
      "sqlblock stream info\n",
  .common = COMMON_JSON | COMMON_PROGRESS,
  .least = 0,
  .most = 1,
  .run = run_stream_info,
};
