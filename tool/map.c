/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The command map: a picture of a disk in the terminal.
 *
 * The disk is cut into equal cells, one for each character, and the more of
 * a cell is stored the denser it is.  With --since the colours tell what
 * changed:
 *
 *          0  ▓█████▒░······························
 *         2G  ··········░▒▒▒········░···············
 *         4G  ·····························▓████████
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tool.h"

static const char *map_since, *map_color, *map_width, *map_height;

static const struct tool_option map_options[] = {
  { "since", 0, "SNAPSHOT", &map_since,
    "show what changed since that snapshot of the disk" },
  { "color", 0, "WHEN", &map_color,
    "always, never, or auto (default): colours and blocks\n"
    "on a UTF-8 terminal unless NO_COLOR is set; plain\n"
    "ASCII elsewhere" },
  { "width", 0, "COLUMNS", &map_width,
    "make it at most so wide (default: the terminal)" },
  { "height", 0, "LINES", &map_height, "make it at most so high (default 24)" },
  { NULL, 0, NULL, NULL, NULL },
};

/* Before each line, its offset: "   1152M  ". */
#define LABEL_WIDTH 10

#define WIDTH_MAX      4096
#define HEIGHT_MAX     4096
#define HEIGHT_DEFAULT 24

struct map {
  struct resolved of, since; /* since.name NULL: was not asked for */
  uint64_t size;             /* bytes */
  uint32_t block_size;       /* bytes */
  uint64_t cell_size;        /* bytes, a power of two times a block */
  size_t width;              /* columns of the terminal */
  size_t columns, cells;
  uint64_t *stored, *changed;           /* bytes of each cell */
  uint64_t stored_total, changed_total; /* bytes */
};

/*--------------------------------------------------------------------
 * Gathering.
 */

/* Choose the size of the cells: powers of two, so that the offsets at the
 * beginning of the lines are round.
 */
static void
choose_cells (struct map *map, size_t width, size_t height)
{
  uint64_t cell = map->block_size;

  map->columns = 1;
  while (2 * map->columns <= width)
    map->columns *= 2;
  while ((map->size - 1) / cell / map->columns >= height)
    cell *= 2;
  map->cell_size = cell;
  map->cells = (map->size - 1) / cell + 1;
  if (map->cells < map->columns)
    map->columns = map->cells;
  map->stored = tool_alloc (map->cells * sizeof *map->stored);
  map->changed = tool_alloc (map->cells * sizeof *map->changed);
}

/* How many bytes of cell I lie inside the disk. */
static uint64_t
cell_bytes (const struct map *map, size_t i)
{
  return i + 1 < map->cells ? map->cell_size : map->size - i * map->cell_size;
}

/* Add a range of bytes to the cells in which it lies, and to TOTAL. */
static int
add_range (const struct map *map, uint64_t *cells, uint64_t *total,
           uint64_t offset, uint64_t count)
{
  *total += count;
  while (count > 0) {
    const size_t i = offset / map->cell_size;
    const uint64_t room = map->cell_size - offset % map->cell_size;
    const uint64_t part = count < room ? count : room;

    cells[i] += part;
    offset += part;
    count -= part;
  }
  return tool_progress (offset, map->size, NULL);
}

static int
add_stored (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  struct map *map = opaque;

  if (hole)
    return 0;
  return add_range (map, map->stored, &map->stored_total, offset, count);
}

static int
add_changed (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  struct map *map = opaque;

  (void)hole;
  return add_range (map, map->changed, &map->changed_total, offset, count);
}

/* Find what the map shows, and since when. */
static int
find (struct store *store, struct map *map, const char *of, const char *since,
      struct status *status)
{
  if (tool_resolve (store, of, &map->of, status) == -1 ||
      (since && tool_resolve (store, since, &map->since, status) == -1))
    return -1;
  map->size = map->of.size;
  map->block_size = map->of.block_size;
  return 0;
}

/* Fill the cells.  What differs from nothing is stored. */
static int
gather (struct store *store, struct map *map, struct status *status)
{
  int r;

  tool_progress_begin ("looking");
  r = manage_diff (store, NULL, map->of.name, add_stored, map, status);
  if (r == 0 && map->since.name)
    r = manage_diff (store, map->since.name, map->of.name, add_changed, map,
                     status);
  tool_progress_end (r);
  return r;
}

/*--------------------------------------------------------------------
 * Drawing.
 */

/* How a map is drawn; each list begins with nothing, then up to a third of
 * the cell, up to two thirds, more, and all of it.
 */
#define LEVELS 5

struct style {
  bool color;
  const char *shades[LEVELS];
  const char *unchanged; /* stored and unchanged, where colours do not tell */
};

static const struct style plain = { false, { ".", "-", "+", "*", "#" }, ":" };
static const struct style rich = {
  true,
  { "\u00b7", "\u2591", "\u2592", "\u2593", "\u2588" },
  NULL,
};

/* Of 256 colours, from a cold one to a hot one, and greys. */
static const int heat[LEVELS] = { 238, 33, 44, 220, 196 };
static const int grey[LEVELS] = { 238, 240, 243, 246, 249 };

static int
level (uint64_t part, uint64_t whole)
{
  return part == 0 ? 0 : part >= whole ? 4 : 1 + (int)(3.0 * part / whole);
}

/* What was asked for, or what fits the terminal. */
static const struct style *
choose_style (void)
{
  const char *no_color = getenv ("NO_COLOR"), *term = getenv ("TERM");

  if (map_color && strcmp (map_color, "auto") != 0)
    return strcmp (map_color, "always") == 0 ? &rich : &plain;
  if (!isatty (STDOUT_FILENO) || (no_color && no_color[0]) || term == NULL ||
      strcmp (term, "dumb") == 0 ||
      strcmp (nl_langinfo (CODESET), "UTF-8") != 0)
    return &plain;
  return &rich;
}

/* Print a character; COLOR remembers the colour that the terminal has, so
 * that it is told only when it changes.
 */
static void
print_shade (const struct style *style, const char *shade, int color, int *now)
{
  if (style->color && *now != color)
    printf ("\033[38;5;%dm", color);
  *now = color;
  fputs (shade, stdout);
}

static void
print_cell (const struct map *map, const struct style *style, size_t i,
            int *now)
{
  const uint64_t whole = cell_bytes (map, i);
  const int stored = level (map->stored[i], whole);
  const int changed = level (map->changed[i], whole);

  if (map->since.name == NULL)
    print_shade (style, style->shades[stored], heat[stored], now);
  else if (changed)
    print_shade (style, style->shades[changed], heat[changed], now);
  else if (stored && style->unchanged)
    print_shade (style, style->unchanged, 0, now);
  else
    print_shade (style, style->shades[stored], grey[stored], now);
}

static void
end_line (const struct style *style)
{
  puts (style->color ? "\033[0m" : "");
}

/* BYTES, not rounded: 1152M; returns TEXT, of TOOL_SIZE_MAX bytes. */
static char *
exact_size (uint64_t bytes, char *text)
{
  static const char *const units[] = { "", "K", "M", "G", "T", "P", "E" };
  int unit = 0;

  for (; bytes > 0 && bytes % 1024 == 0 && unit < 6; unit++)
    bytes /= 1024;
  snprintf (text, TOOL_SIZE_MAX, "%" PRIu64 "%s", bytes, units[unit]);
  return text;
}

/* Begin an item of the legend, of WIDTH columns, on the line of which AT are
 * filled, or where it has no place there on the next one.
 */
static void
begin_item (const struct map *map, size_t width, size_t *at)
{
  const bool fits = *at + 2 + width <= map->width;

  fputs (fits ? "  " : "\n", stdout);
  *at = (fits ? *at + 2 : 0) + width;
}

static void
print_legend (const struct map *map, const struct style *style)
{
  static const char *const words[LEVELS] = { "nothing", "to 1/3", "to 2/3",
                                             "more", "all" };
  char text[TOOL_SIZE_MAX];
  size_t at;
  int now = -1;

  at = printf ("Of each %s %s:", exact_size (map->cell_size, text),
               map->since.name ? "changed" : "stored");
  for (int i = 0; i < LEVELS; i++) {
    begin_item (map, 2 + strlen (words[i]), &at);
    print_shade (style, style->shades[i], heat[i], &now);
    printf (" %s", words[i]);
  }
  if (map->since.name) {
    begin_item (map, 2 + strlen ("unchanged"), &at);
    print_shade (style, style->unchanged ? style->unchanged : style->shades[4],
                 grey[4], &now);
    fputs (" unchanged", stdout);
  }
  end_line (style);
}

/* What the map says of a name: web@monday (the newest by 2026-11-24). */
static const char *
label (const struct resolved *resolved)
{
  return resolved->time ? tool_format ("%s (the newest by %s)", resolved->name,
                                       resolved->time)
                        : resolved->name;
}

static void
draw (const struct map *map)
{
  const struct style *style = choose_style ();
  char size[TOOL_SIZE_MAX], stored[TOOL_SIZE_MAX], changed[TOOL_SIZE_MAX];

  printf ("%s: %s, of which %s stored", label (&map->of),
          tool_amount (map->size, size),
          tool_amount (map->stored_total, stored));
  if (map->since.name)
    printf ("; %s changed since %s", tool_amount (map->changed_total, changed),
            label (&map->since));
  puts ("");
  for (size_t i = 0; i < map->cells; i += map->columns) {
    int now = -1;

    printf ("%*s  ", LABEL_WIDTH - 2, exact_size (i * map->cell_size, size));
    for (size_t j = i; j < i + map->columns && j < map->cells; j++)
      print_cell (map, style, j, &now);
    end_line (style);
  }
  print_legend (map, style);
}

static json_t *
cells_json (const struct map *map, const uint64_t *cells)
{
  json_t *array = json_array ();

  for (size_t i = 0; i < map->cells; i++)
    json_array_append_new (array, tool_json_size (cells[i]));
  return array;
}

static json_t *
time_json (const struct resolved *resolved)
{
  return resolved->time ? tool_json_string (resolved->time) : json_null ();
}

static void
print_json (const struct map *map)
{
  json_t *json =
      json_pack ("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
                 tool_json_string (map->of.name), "name_time",
                 time_json (&map->of), "size", tool_json_size (map->size),
                 "block_size", tool_json_size (map->block_size), "cell_size",
                 tool_json_size (map->cell_size), "stored",
                 tool_json_size (map->stored_total), "stored_cells",
                 cells_json (map, map->stored));

  if (json && map->since.name) {
    json_object_set_new (json, "since", tool_json_string (map->since.name));
    json_object_set_new (json, "since_time", time_json (&map->since));
    json_object_set_new (json, "changed", tool_json_size (map->changed_total));
    json_object_set_new (json, "changed_cells", cells_json (map, map->changed));
  }
  tool_json_print (json);
}

/*--------------------------------------------------------------------
 * The command.
 */

/* Read a number of columns or lines; TEXT may be NULL: OTHERWISE. */
static int
read_number (const char *text, size_t most, size_t otherwise, size_t *number)
{
  char *end;
  unsigned long value;

  *number = otherwise;
  if (text == NULL)
    return 0;
  value = strtoul (text, &end, 10);
  if (text[0] < '0' || text[0] > '9' || *end || value == 0 || value > most) {
    tool_usage ("'%s' is not a number from 1 to %zu", text, most);
    return -1;
  }
  *number = value;
  return 0;
}

/* The columns that the terminal has for the cells. */
static size_t
terminal_width (void)
{
  const char *columns = getenv ("COLUMNS");
  struct winsize window = { 0 };
  int width = 80;

  if (ioctl (STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
    width = window.ws_col;
  else if (columns && atoi (columns) > 0 && atoi (columns) <= WIDTH_MAX)
    width = atoi (columns);
  return width;
}

/* "web@monday" for what --since said, as "monday", "@monday" or in full. */
static const char *
since_target (const char *disk)
{
  const char *at = strchr (map_since, '@');

  if (at == NULL)
    return tool_format ("%s@%s", disk, map_since);
  return at == map_since ? tool_format ("%s%s", disk, map_since) : map_since;
}

static int
run_map (int argc, char *argv[])
{
  struct map map = { 0 };
  const char *since = NULL;
  struct status status;
  struct store *store;
  size_t width, height;

  (void)argc;
  if (read_number (map_width, WIDTH_MAX, terminal_width (), &width) == -1 ||
      read_number (map_height, HEIGHT_MAX, HEIGHT_DEFAULT, &height) == -1)
    return TOOL_USAGE;
  if (map_color && strcmp (map_color, "auto") != 0 &&
      strcmp (map_color, "always") != 0 && strcmp (map_color, "never") != 0)
    return tool_usage ("--color is auto, always or never");
  if (map_since)
    since = since_target (tool_target (argv[1]).disk);
  store = tool_open (argv[0], false);
  if (find (store, &map, argv[1], since, &status) == -1)
    return tool_fail (&status);
  map.width = width;
  choose_cells (&map, width > LABEL_WIDTH ? width - LABEL_WIDTH : 1, height);
  if (gather (store, &map, &status) == -1)
    return tool_fail (&status);
  if (common.json)
    print_json (&map);
  else
    draw (&map);
  free (map.stored);
  free (map.changed);
  return TOOL_DONE;
}

const struct command command_map = {
  .name = "map",
  .arguments = "DATABASE DISK[@SNAPSHOT]",
  .summary = "Draw what is stored of a disk, and what changed",
  .help =
      "Each character is a part of the disk.  The more of it is stored, the\n"
      "denser it is; with --since, the more of it has changed, and what is\n"
      "stored and unchanged is grey (in plain ASCII \":\").\n"
      "\n"
      "The JSON has name, name_time (what stood for it, or null), size,\n"
      "block_size, cell_size, and in bytes stored and stored_cells, a list of\n"
      "how much of each cell is stored; with --since also since, since_time,\n"
      "changed and changed_cells.  SNAPSHOT may be a time.\n"
      "\n"
      "Example: sqlblock map disks.sqlite web --since=monday\n",
  .options = map_options,
  .common = COMMON_JSON | COMMON_PROGRESS,
  .least = 2,
  .most = 2,
  .run = run_map,
};
