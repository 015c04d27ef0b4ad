/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the command sqlblock prints: messages, tables, JSON, progress.
 *
 * Everything for people goes through here, so that sizes, times and columns
 * look the same in all commands, and names from hostile files cannot steer
 * the terminal.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "base/clock.h"
#include "base/sane.h"
#include "base/times.h"
#include "base/count.h"
#include "tool.h"

/*--------------------------------------------------------------------
 * Messages.
 */

/* Control characters become '?'; returns TEXT. */
static char *
printable (char *text)
{
  for (char *p = text; *p; p++)
    if ((unsigned char)*p < 0x20 || *p == 0x7f)
      *p = '?';
  return text;
}

static char *
format_list (const char *format, va_list arguments)
{
  char *text;

  if (vasprintf (&text, format, arguments) == -1) {
    fputs ("sqlblock: out of memory\n", stderr);
    exit (TOOL_FAILED);
  }
  return text;
}

char *
tool_format (const char *format, ...)
{
  va_list arguments;
  char *text;

  va_start (arguments, format);
  text = format_list (format, arguments);
  va_end (arguments);
  return text;
}

static int
exit_code (int error)
{
  switch (error) {
  case ENOENT:
    return TOOL_NOT_FOUND;
  case EEXIST:
  case ENOTEMPTY:
    return TOOL_EXISTS;
  case EBUSY:
    return TOOL_BUSY;
  default:
    return TOOL_FAILED;
  }
}

static char *doing = NULL;

void
tool_doing (const char *command, int count, char *operands[])
{
  doing = tool_format ("%s", command);
  for (int i = 0; i < count; i++) {
    char *longer = tool_format ("%s %s", doing, operands[i]);

    free (doing);
    doing = longer;
  }
}

/* What SQLite or the file system says names no disk. */
int
tool_fail (const struct status *status)
{
  if (doing && (status->sqlite != 0 || status->error == ENOSPC))
    return tool_error (status->error, "%s: %s", doing, status->message);
  return tool_error (status->error, "%s", status->message);
}

int
tool_error (int error, const char *format, ...)
{
  va_list arguments;
  char *text;

  va_start (arguments, format);
  text = format_list (format, arguments);
  va_end (arguments);
  fprintf (stderr, "sqlblock: %s\n", printable (text));
  free (text);
  return exit_code (error);
}

void
tool_say (const char *format, ...)
{
  va_list arguments;
  char *text;

  if (common.quiet)
    return;
  va_start (arguments, format);
  text = format_list (format, arguments);
  va_end (arguments);
  fprintf (stderr, "%s\n", printable (text));
  free (text);
}

void
tool_print (const char *format, ...)
{
  va_list arguments;
  char *text;

  va_start (arguments, format);
  text = format_list (format, arguments);
  va_end (arguments);
  puts (printable (text));
  free (text);
}

/*--------------------------------------------------------------------
 * Sizes.
 */

char *
tool_size (uint64_t bytes, char *buffer)
{
  static const char units[] = " KMGTPE";
  double value = bytes;
  size_t unit = 0;
  char *end;

  while (value >= 999.5 && units[unit + 1]) {
    value /= 1024;
    unit++;
  }
  /* Three digits, of which zeroes behind the point say nothing. */
  if (unit == 0)
    snprintf (buffer, TOOL_SIZE_MAX, "%" PRIu64, bytes);
  else
    snprintf (buffer, TOOL_SIZE_MAX, "%.*f",
              value < 9.995   ? 2
              : value < 99.95 ? 1
                              : 0,
              value);
  end = buffer + strlen (buffer);
  if (strchr (buffer, '.')) {
    while (end[-1] == '0')
      end--;
    if (end[-1] == '.')
      end--;
  }
  if (unit > 0)
    *end++ = units[unit];
  *end = '\0';
  return buffer;
}

char *
tool_amount (uint64_t bytes, char *buffer)
{
  if (bytes >= 1000)
    return tool_size (bytes, buffer);
  snprintf (buffer, TOOL_SIZE_MAX, "%s", COUNT (bytes, "byte"));
  return buffer;
}

char *
tool_count (uint64_t count, const char *one)
{
  return tool_strdup (COUNT (count, one));
}

/*--------------------------------------------------------------------
 * Tables.
 */

struct cell {
  char *text;
  bool is_number; /* then it is sorted by this: */
  int64_t number;
};

struct tool_table {
  const char *const *titles;
  size_t columns, cells, capacity;
  struct cell *cell; /* row by row */
  size_t *shown;     /* columns, in their order */
  size_t shown_count;
  int width; /* at most; 0: any */
};

/* How many columns of a terminal TEXT takes. */
static int
display_width (const char *text)
{
  const size_t length = mbstowcs (NULL, text, 0);
  wchar_t *wide;
  int width = -1;

  if (length != (size_t)-1) {
    wide = tool_alloc ((length + 1) * sizeof *wide);
    mbstowcs (wide, text, length + 1);
    width = wcswidth (wide, length);
    free (wide);
  }
  return width >= 0 ? width : (int)strlen (text);
}

int
tool_fitting (const char *text, int columns)
{
  const char *at = text;
  mbstate_t state = { 0 };

  for (int width = 0; *at;) {
    wchar_t wide;
    const size_t length = mbrtowc (&wide, at, MB_CUR_MAX, &state);
    const bool known = length <= MB_CUR_MAX && wcwidth (wide) >= 0;

    if (!known)
      state = (mbstate_t){ 0 };
    width += known ? wcwidth (wide) : 1;
    if (width > columns)
      break;
    at += known ? length : 1;
  }
  return at - text;
}

struct tool_table *
tool_table (const char *const *titles)
{
  struct tool_table *table = tool_alloc (sizeof *table);

  table->titles = titles;
  while (titles[table->columns])
    table->columns++;
  table->shown = tool_alloc (table->columns * sizeof *table->shown);
  for (; table->shown_count < table->columns; table->shown_count++)
    table->shown[table->shown_count] = table->shown_count;
  return table;
}

/* The title of a column, without what says how it is aligned. */
static const char *
title_of (const struct tool_table *table, size_t column)
{
  const char *title = table->titles[column];

  return title + (title[0] == '>');
}

/* The column of the title that is the LENGTH bytes of TEXT; as many as there
 * are where there is none.
 */
static size_t
find_column (const struct tool_table *table, const char *text, size_t length)
{
  size_t i = 0;

  for (; i < table->columns; i++)
    if (strlen (title_of (table, i)) == length &&
        strncasecmp (title_of (table, i), text, length) == 0)
      break;
  return i;
}

/* There is no such title; say which there are. */
static int
refuse_column (const struct tool_table *table, const char *text, size_t length)
{
  char *titles = tool_strdup (""), *more;
  int code;

  for (size_t i = 0; i < table->columns; i++) {
    more =
        tool_format ("%s%s%s", titles, i > 0 ? ", " : "", title_of (table, i));
    free (titles);
    titles = more;
  }
  code = tool_usage ("there is no column '%.*s'; there are: %s", (int)length,
                     text, titles);
  free (titles);
  return code;
}

/* Show the columns of these titles, with a "," between them. */
static int
show_columns (struct tool_table *table, const char *titles)
{
  size_t count = 1;

  for (const char *text = titles; *text; text++)
    count += *text == ',';
  table->shown = tool_realloc (table->shown, count * sizeof *table->shown);
  table->shown_count = 0;
  for (const char *text = titles;; text++) {
    const size_t length = strcspn (text, ",");
    const size_t column = find_column (table, text, length);

    if (column == table->columns)
      return refuse_column (table, text, length);
    table->shown[table->shown_count++] = column;
    text += length;
    if (*text == '\0')
      return TOOL_DONE;
  }
}

/* The title of the column that is sorted by, or NULL. */
static const char *
sorted_title (void)
{
  return common.sort ? common.sort : common.sort_down;
}

int
tool_table_choose (struct tool_table *table, const char *columns)
{
  const char *sort = sorted_title ();

  if (common.json && (common.columns || sort || common.bare || common.exact))
    return tool_usage ("--columns, --exact, --bare and --sort are about "
                       "tables; JSON has everything, and exactly");
  if (common.sort && common.sort_down)
    return tool_usage ("--sort and --sort-down exclude each other");
  if (sort && find_column (table, sort, strlen (sort)) == table->columns)
    return refuse_column (table, sort, strlen (sort));
  return show_columns (table, common.columns ? common.columns : columns);
}

bool
tool_table_needs (const struct tool_table *table, const char *title)
{
  const size_t column = find_column (table, title, strlen (title));

  if (sorted_title () && strcasecmp (sorted_title (), title) == 0)
    return true;
  for (size_t i = 0; i < table->shown_count; i++)
    if (table->shown[i] == column)
      return true;
  return false;
}

/* Takes TEXT over. */
static void
add_cell (struct tool_table *table, char *text, bool is_number, int64_t number)
{
  if (table->cells == table->capacity) {
    table->capacity = 2 * table->capacity + 64;
    table->cell =
        tool_realloc (table->cell, table->capacity * sizeof *table->cell);
  }
  table->cell[table->cells++] = (struct cell){
    .text = printable (text),
    .is_number = is_number,
    .number = number,
  };
}

void
tool_cell (struct tool_table *table, const char *format, ...)
{
  va_list arguments;

  va_start (arguments, format);
  add_cell (table, format_list (format, arguments), false, 0);
  va_end (arguments);
}

void
tool_cell_count (struct tool_table *table, uint64_t count)
{
  add_cell (table, tool_format ("%" PRIu64, count), true, count);
}

void
tool_cell_size (struct tool_table *table, uint64_t bytes)
{
  char text[TOOL_SIZE_MAX];

  if (common.exact)
    tool_cell_count (table, bytes);
  else
    add_cell (table, tool_strdup (tool_size (bytes, text)), true, bytes);
}

void
tool_cell_usage (struct tool_table *table, uint64_t bytes)
{
  if (bytes == USAGE_UNKNOWN)
    tool_cell (table, "?");
  else
    tool_cell_size (table, bytes);
}

double
tool_ratio (uint64_t logical, uint64_t stored)
{
  return logical == USAGE_UNKNOWN || stored == USAGE_UNKNOWN ? -1
         : stored == 0                                       ? 1
                       : (double)logical / stored;
}

void
tool_cell_ratio (struct tool_table *table, uint64_t logical, uint64_t stored)
{
  const double ratio = tool_ratio (logical, stored);

  if (ratio < 0)
    tool_cell (table, "?");
  else
    add_cell (table, tool_format ("%.2f", ratio), true, 1e6 * ratio);
}

void
tool_cell_time (struct tool_table *table, int64_t seconds)
{
  char text[TIMES_TEXT_MAX];

  add_cell (table,
            common.exact ? tool_format ("%" PRId64, seconds)
                         : tool_strdup (times_local (seconds, text)),
            true, seconds);
}

/* What is shown of the cell of ROW in the column that is shown in place I. */
static const char *
cell_text (const struct tool_table *table, size_t row, size_t i)
{
  const char *text = table->cell[row * table->columns + table->shown[i]].text;

  return text[0] ? text : "-";
}

/* Print TEXT in a column; the last one of a line is not filled up. */
static void
print_cell (const char *text, int width, bool right, bool last)
{
  const int padding = width - display_width (text);

  printf ("%*s%s%*s%s", right ? padding : 0, "", text,
          right || last ? 0 : padding, "", last ? "\n" : "  ");
}

void
tool_table_fit (struct tool_table *table, int width)
{
  table->width = width;
}

/* How many of the columns that are shown, of these WIDTHS, have a place. */
static size_t
count_fitting (const struct tool_table *table, const int *widths)
{
  size_t count = 0;

  for (int width = 0; count < table->shown_count; count++) {
    width += widths[count] + (count > 0 ? 2 : 0);
    if (table->width > 0 && width > table->width)
      break;
  }
  return count > 0 ? count : 1;
}

/* How wide each column that is shown is, in a new array. */
static int *
column_widths (const struct tool_table *table)
{
  const size_t rows = table->cells / table->columns;
  int *widths = tool_alloc (table->shown_count * sizeof *widths);

  for (size_t i = 0; i < table->shown_count; i++) {
    widths[i] = display_width (title_of (table, table->shown[i]));
    for (size_t row = 0; row < rows; row++)
      if (display_width (cell_text (table, row, i)) > widths[i])
        widths[i] = display_width (cell_text (table, row, i));
  }
  return widths;
}

/* A row, for qsort: by its cell in a column, then by its place. */
struct sorted_row {
  const struct cell *cell;
  size_t row;
  bool down;
};

/* Texts, such as "-" and "?", stand before numbers. */
static int
compare_rows (const void *left, const void *right)
{
  const struct sorted_row *a = left, *b = right;
  int order;

  if (a->cell->is_number != b->cell->is_number)
    order = a->cell->is_number ? 1 : -1;
  else if (a->cell->is_number)
    order = (a->cell->number > b->cell->number) -
            (a->cell->number < b->cell->number);
  else
    order = strcmp (a->cell->text, b->cell->text);
  if (order != 0)
    return a->down ? -order : order;
  return (a->row > b->row) - (a->row < b->row);
}

/* In which order the rows are shown, in a new array. */
static size_t *
order_rows (const struct tool_table *table)
{
  const size_t rows = table->cells / table->columns;
  const char *title = sorted_title ();
  const size_t column =
      title ? find_column (table, title, strlen (title)) : table->columns;
  struct sorted_row *sorted = tool_alloc (rows * sizeof *sorted);
  size_t *order = tool_alloc (rows * sizeof *order);

  for (size_t row = 0; row < rows && column < table->columns; row++)
    sorted[row] = (struct sorted_row){
      .cell = &table->cell[row * table->columns + column],
      .row = row,
      .down = common.sort_down != NULL,
    };
  if (column < table->columns && rows > 0)
    qsort (sorted, rows, sizeof *sorted, compare_rows);
  for (size_t row = 0; row < rows; row++)
    order[row] = column < table->columns ? sorted[row].row : row;
  free (sorted);
  return order;
}

/* For programs: without a heading, and with tabs, which no cell has. */
static void
print_bare (const struct tool_table *table, const size_t *order)
{
  for (size_t row = 0; row < table->cells / table->columns; row++)
    for (size_t i = 0; i < table->shown_count; i++)
      printf ("%s%c", cell_text (table, order[row], i),
              i + 1 == table->shown_count ? '\n' : '\t');
}

static void
print_aligned (const struct tool_table *table, const size_t *order)
{
  int *widths = column_widths (table);
  const size_t fitting = count_fitting (table, widths);

  for (size_t i = 0; i < fitting; i++)
    print_cell (title_of (table, table->shown[i]), widths[i],
                table->titles[table->shown[i]][0] == '>', i + 1 == fitting);
  for (size_t row = 0; row < table->cells / table->columns; row++)
    for (size_t i = 0; i < fitting; i++)
      print_cell (cell_text (table, order[row], i), widths[i],
                  table->titles[table->shown[i]][0] == '>', i + 1 == fitting);
  free (widths);
}

void
tool_table_print (struct tool_table *table)
{
  size_t *order = order_rows (table);

  if (common.bare)
    print_bare (table, order);
  else
    print_aligned (table, order);
  for (size_t i = 0; i < table->cells; i++)
    free (table->cell[i].text);
  free (order);
  free (table->shown);
  free (table->cell);
  free (table);
}

/* The width of the names of properties, with their colon. */
#define PROPERTY_WIDTH 20

void
tool_property (const char *name, const char *format, ...)
{
  const int room = PROPERTY_WIDTH - 1 - display_width (name);
  va_list arguments;
  char *text;

  va_start (arguments, format);
  text = format_list (format, arguments);
  va_end (arguments);
  printf ("%s:%*s%s\n", name, room > 0 ? room : 1, "",
          text[0] ? printable (text) : "-");
  free (text);
}

void
tool_property_size (const char *name, uint64_t bytes)
{
  char text[TOOL_SIZE_MAX];

  tool_amount (bytes, text);
  if (bytes < 1000)
    tool_property (name, "%s", text);
  else
    tool_property (name, "%s (%" PRIu64 " bytes)", text, bytes);
}

/*--------------------------------------------------------------------
 * JSON.
 */

/* VALUE, which jansson could make. */
static json_t *
made (json_t *value)
{
  if (value == NULL) {
    fputs ("sqlblock: out of memory\n", stderr);
    exit (TOOL_FAILED);
  }
  return value;
}

/* jansson takes nothing but UTF-8: every other byte becomes U+FFFD. */
static json_t *
replace_invalid (const char *text)
{
  char *valid = tool_alloc (3 * strlen (text) + 1), *end = valid;
  json_t *value;

  for (size_t length; *text; text += length) {
    for (length = 1; length <= 4; length++) {
      value = json_stringn (text, strnlen (text, length));
      if (value)
        break;
    }
    if (value) {
      length = strnlen (text, length);
      memcpy (end, text, length);
      end += length;
      json_decref (value);
    }
    else {
      memcpy (end, "\xef\xbf\xbd", 3);
      end += 3;
      length = 1;
    }
  }
  value = made (json_string (valid));
  free (valid);
  return value;
}

char *
tool_property_text (const struct property *property)
{
  char *hex;

  if (property->damaged)
    return tool_strdup ("?");
  if (property->type == PROPERTY_INTEGER)
    return tool_format ("%" PRId64, property->integer);
  if (property->type == PROPERTY_TEXT && sane_text (property->bytes) &&
      strlen (property->bytes) == property->length)
    return tool_strdup (property->bytes);
  hex = tool_alloc (2 * property->length + 4);
  strcpy (hex, "x'");
  for (size_t i = 0; i < property->length; i++)
    sprintf (hex + 2 + 2 * i, "%02x", (unsigned char)property->bytes[i]);
  return strcat (hex, "'");
}

json_t *
tool_json_string (const char *text)
{
  json_t *value = json_string (text);

  return value ? value : replace_invalid (text);
}

int
tool_json_save (json_t *value, const char *name, const char *new_name,
                struct status *status)
{
  int r = 0, fd;

  unlink (new_name);
  fd = open (new_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd == -1 || json_dumpfd (value, fd, JSON_INDENT (2)) == -1 ||
      rename (new_name, name) == -1)
    r = status_fail (status, errno ? errno : EIO, "%s cannot be written", name);
  if (fd != -1)
    close (fd);
  json_decref (value);
  return r;
}

json_t *
tool_json_usage (uint64_t bytes)
{
  return bytes == USAGE_UNKNOWN ? json_null () : tool_json_size (bytes);
}

json_t *
tool_json_ratio (uint64_t logical, uint64_t stored)
{
  const double ratio = tool_ratio (logical, stored);

  return ratio < 0 ? json_null () : json_real (ratio);
}

json_t *
tool_json_size (uint64_t bytes)
{
  return made (json_integer (bytes));
}

json_t *
tool_json_time (int64_t seconds)
{
  char text[TIMES_TEXT_MAX];

  return made (json_string (times_utc (seconds, text)));
}

void
tool_token (const struct partial_info *info, char token[STREAM_TOKEN_MAX])
{
  stream_token_print (&(struct stream_token){ .guid = info->guid,
                                              .base_guid = info->base_guid,
                                              .size = info->size,
                                              .position = info->position,
                                              .block_size = info->block_size },
                      token);
}

json_t *
tool_json_partial (const struct partial_info *info)
{
  char token[STREAM_TOKEN_MAX];

  tool_token (info, token);
  return json_pack ("{s:o, s:o, s:o, s:o, s:o, s:s}", "disk",
                    tool_json_string (info->disk_name), "snapshot",
                    tool_json_string (info->snapshot), "size",
                    tool_json_size (info->size), "position",
                    tool_json_size (info->position), "updated",
                    tool_json_time (info->updated), "token", token);
}

void
tool_json_print (json_t *value)
{
  json_dumpf (made (value), stdout, JSON_INDENT (2) | JSON_REAL_PRECISION (15));
  putchar ('\n');
  json_decref (value);
}

/*--------------------------------------------------------------------
 * Progress.
 */

static struct {
  const char *what;
  int64_t began, shown; /* milliseconds; shown 0: not yet */
  int64_t looked;       /* when RATE was last brought up to date */
  uint64_t done;        /* and what was done then */
  uint64_t last, total; /* what was told last */
  double rate;          /* bytes a second, of late */
  bool terminal, wanted;
} bar;

/* The rate is that of about the last RATE_TIME milliseconds: what is skipped
 * over, holes for example, is soon forgotten.
 */
#define RATE_TIME 3000

static volatile sig_atomic_t interrupted;

static int64_t
milliseconds (void)
{
  return clock_now () / CLOCK_MILLISECOND;
}

static void
note_signal (int number)
{
  interrupted = number;
}

int
tool_interrupted (void)
{
  return interrupted;
}

void
tool_catch_signals (void)
{
  struct sigaction action = { .sa_handler = note_signal,
                              .sa_flags = (int)SA_RESETHAND };
  struct sigaction hangup;

  sigaction (SIGINT, &action, NULL);
  sigaction (SIGTERM, &action, NULL);
  /* nohup has it passed by. */
  if (sigaction (SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
    sigaction (SIGHUP, &action, NULL);
}

void
tool_progress_begin (const char *what)
{
  tool_catch_signals ();
  bar.what = what;
  bar.began = milliseconds ();
  bar.looked = bar.began;
  bar.shown = 0;
  bar.done = 0;
  bar.last = 0;
  bar.total = 0;
  bar.rate = 0;
  bar.terminal = isatty (STDERR_FILENO);
  bar.wanted = common.progress == 1 ||
               (common.progress == 0 && !common.quiet && bar.terminal);
}

/* "  310M/s  0:05 left", what of it is known, a new string. */
static char *
rate_text (uint64_t done, uint64_t total, int64_t now)
{
  const bool ended = done == total;
  const uint64_t rate =
      ended ? 1000.0 * done / (now - bar.began + 1) : bar.rate;
  char text[TOOL_SIZE_MAX];
  uint64_t left;

  if (rate == 0)
    return tool_strdup ("");
  tool_size (rate, text);
  if (ended || total < done)
    return tool_format ("  %s/s", text);
  left = (total - done) / rate;
  return tool_format ("  %s/s  %" PRIu64 ":%02d left", text, left / 60,
                      (int)(left % 60));
}

/* "45%  1.2G of 2.7G  310M/s  0:05 left", a new string. */
static char *
progress_text (uint64_t done, uint64_t total, int64_t now)
{
  char done_text[TOOL_SIZE_MAX], total_text[TOOL_SIZE_MAX];
  char *rate = rate_text (done, total, now), *text;

  tool_size (done, done_text);
  if (total < done || total == 0)
    text = tool_format ("%s%s", done_text, rate);
  else
    text = tool_format ("%3.0f%%  %s of %s%s", 100.0 * done / total, done_text,
                        tool_size (total, total_text), rate);
  free (rate);
  return text;
}

/* The longest bar, in columns. */
#define BAR_MAX 40

/* Columns that the terminal has for a line; in the last one it would wrap. */
static int
line_width (void)
{
  struct winsize window;

  if (ioctl (STDERR_FILENO, TIOCGWINSZ, &window) == -1 || window.ws_col == 0)
    window.ws_col = 80;
  return window.ws_col - 1;
}

/* Leave out of TEXT, from its end, what has no place in WIDTH beside some of
 * what is done.
 */
static void
shorten (char *text, int width)
{
  const int what = display_width (bar.what);
  const int room = width - 2 - (what < width / 3 ? what : width / 3);

  while (display_width (text) > room) {
    char *end = text + strlen (text);

    while (end - text > 1 && (end[-1] != ' ' || end[-2] != ' '))
      end--;
    if (end - text <= 1)
      break;
    while (end > text && end[-1] == ' ')
      end--;
    *end = '\0';
  }
  text[tool_fitting (text, room > 0 ? room : 0)] = '\0';
}

/* Fill BAR, of at most BAR_MAX columns and as wide as WIDTH allows beside
 * TEXT.
 */
static void
draw_bar (char *drawn, const char *text, int width, uint64_t done,
          uint64_t total)
{
  int room, filled;

  room = width - display_width (bar.what) - display_width (text) - 6;
  if (room > BAR_MAX)
    room = BAR_MAX;
  drawn[0] = '\0';
  if (room < 5 || total == 0 || done > total)
    return;
  filled = (double)done / total * room;
  drawn[0] = '[';
  memset (drawn + 1, '#', filled);
  memset (drawn + 1 + filled, '.', room - filled);
  strcpy (drawn + 1 + room, "]  ");
}

static void
show_progress (uint64_t done, uint64_t total, int64_t now)
{
  char *text = progress_text (done, total, now);
  char drawn[BAR_MAX + 5];

  if (bar.terminal) {
    const int width = line_width ();
    int room;

    shorten (text, width);
    draw_bar (drawn, text, width, done, total);
    room = width - 2 - display_width (text);
    fprintf (stderr, "\r%.*s  %s%s\033[K",
             tool_fitting (bar.what, room > 0 ? room : 0), bar.what, drawn,
             text);
  }
  else
    fprintf (stderr, "%s  %s\n", bar.what, text);
  fflush (stderr);
  free (text);
  bar.shown = now;
}

/* Weigh what was done since the last time by how long that took. */
static void
update_rate (uint64_t done, int64_t now)
{
  const double elapsed = now - bar.looked;

  if (elapsed < 50 || done < bar.done)
    return;
  bar.rate += ((done - bar.done) * 1000 / elapsed - bar.rate) * elapsed /
              (elapsed + (bar.looked == bar.began ? 0 : RATE_TIME));
  bar.looked = now;
  bar.done = done;
}

int
tool_progress (uint64_t done, uint64_t total, void *opaque)
{
  const int64_t now = milliseconds ();

  (void)opaque;
  update_rate (done, now);
  bar.last = done;
  bar.total = total;
  /* A line for each second is enough where lines stay. */
  if (bar.wanted &&
      (bar.shown == 0 ? common.progress == 1 || now - bar.began >= 1000
                      : now - bar.shown >= (bar.terminal ? 100 : 1000)))
    show_progress (done, total, now);
  return interrupted;
}

void
tool_progress_end (int r)
{
  /* The last step was told when it began, or not shown so soon. */
  if (bar.wanted && bar.shown && r == 0)
    show_progress (bar.total > bar.last ? bar.total : bar.last, bar.total,
                   milliseconds ());
  if (bar.wanted && bar.shown && bar.terminal)
    fputc ('\n', stderr);
  bar.wanted = false;
}
