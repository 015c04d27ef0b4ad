/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What can stand at the end of a command line, for completion in shells.
 *
 *   Tab ──► completion.bash, .zsh, .fish ──► sqlblock --complete WORD...
 *                       ▲                             │
 *                       └── "web@monday\t2026-11-24" ─┘
 *
 * The shells know nothing about the commands: their files pass the words up
 * to the cursor, the last of which may be empty, without quotes.  The answer
 * is each word that can stand in the place of the last, in a line, with a tab
 * and what it means behind it.  A line that begins with a tab says that files
 * fit, "\tfile" or "\tdatabase"; behind --OPTION= where that is what was
 * typed.
 *
 * So all of this comes from the struct command: its name, its options, and the
 * words of its usage and of its options' arguments, which tell what each
 * is (see arguments.c).  What fails, as where there is no such file, offers
 * nothing; the shells do not show what is said of it.  Neither does it keep the
 * user who pressed Tab waiting, as for another program's lock: see give_up.  A
 * server is asked where the command would ask it.
 */

#include <config.h>

#include <ctype.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/optional.h"
#include "base/sane.h"
#include "base/times.h"
#include "destination.h"
#include "source.h"
#include "tool.h"

/* After how many seconds nothing more is offered. */
#define PATIENCE 2

/* The word at the cursor, and how much of it stays, such as "--since=" where
 * a snapshot is completed.
 */
static const char *typed;
static size_t kept;

/* What stands in front of it. */
static struct {
  const struct command *command;
  const struct tool_option *options[TOOL_OPTIONS_MAX];
  bool given[TOOL_OPTIONS_MAX];
  size_t option_count;
  const struct tool_option *waiting; /* for its argument, the word typed */
  bool only_operands;                /* "--" was there */
  char **operands;
  int operand_count;
} line;

static bool
begins (const char *text, const char *with)
{
  return strncmp (text, with, strlen (with)) == 0;
}

/* Take the first word off LIST, which has SEPARATORS between them: a new
 * string, or NULL at the end.
 */
static char *
next_word (const char **list, const char *separators)
{
  const char *first = *list + strspn (*list, separators);
  const size_t length = strcspn (first, separators);

  *list = first + length;
  return length ? tool_format ("%.*s", (int)length, first) : NULL;
}

/* Would WORD be an option among operands? */
static bool
is_option (const char *word)
{
  return word[0] == '-' && word[1] != '\0' && (word[1] < '0' || word[1] > '9');
}

/* Would it be one in the place of the word typed, which is none?  So no disk
 * that is named --all turns into that.
 */
static bool
is_mistaken (const char *word)
{
  return is_option (word) && line.command && line.waiting == NULL &&
         !line.only_operands && kept == 0 && typed[0] != '-';
}

/* Offer WORD behind what stays of the word typed, if it continues that; TEXT
 * says in any number of lines what it means.  A name that is damaged may have
 * any bytes.
 */
static void
offer (const char *word, const char *text)
{
  if (!begins (word, typed + kept) || !sane_text (word) || is_mistaken (word))
    return;
  printf ("%.*s%s\t", (int)kept, typed, word);
  for (; *text; text++)
    putchar ((unsigned char)*text < ' ' ? ' ' : *text);
  putchar ('\n');
}

/* The same for BEFORE and BEHIND, as one word. */
static void
offer_joined (const char *before, const char *behind, const char *text)
{
  char *word = tool_format ("%s%s", before, behind);

  offer (word, text);
  free (word);
}

static void
offer_files (const char *kind)
{
  printf ("\t%s\n", kind);
}

/*--------------------------------------------------------------------
 * Commands and options.
 */

/* Offer the second words of the commands that begin with FIRST. */
static void
offer_second_words (const char *first)
{
  const size_t length = strlen (first);

  for (const struct command *const *c = tool_commands; *c; c++)
    if (begins ((*c)->name, first) && (*c)->name[length] == ' ')
      offer ((*c)->name + length + 1, (*c)->summary);
}

static void
offer_first_words (void)
{
  char *last = tool_strdup ("");

  for (const struct command *const *c = tool_commands; *c; c++) {
    const char *rest = (*c)->name;
    char *word = next_word (&rest, " ");

    if (strcmp (word, last) != 0)
      offer (word, *rest ? "..." : (*c)->summary);
    free (last);
    last = word;
  }
  free (last);
}

static void
offer_options (void)
{
  for (size_t i = 0; i < line.option_count; i++) {
    const struct tool_option *option = line.options[i];
    char *word =
        tool_format ("--%s%s", option->name, option->argument ? "=" : "");

    if (!line.given[i])
      offer (word, option->help);
    free (word);
  }
}

/*--------------------------------------------------------------------
 * Disks and snapshots.
 */

/* The file that the word PATH names, as the shell would pass it. */
static const char *
path_of_word (const char *path)
{
  const char *home = getenv ("HOME");

  return begins (path, "~/") && home ? tool_format ("%s%s", home, path + 1)
                                     : path;
}

/* The database that the command line names, or NULL. */
static struct store *
open_database (void)
{
  static struct store *store;

  if (store == NULL && line.operand_count)
    store = tool_open (path_of_word (line.operands[0]), false);
  return store;
}

/* How names of disks are offered: with what behind them. */
struct disk_form {
  bool plain, at;
};

static int
offer_disk (const struct disk_info *info, void *opaque)
{
  const struct disk_form *form = opaque;
  char size[TOOL_SIZE_MAX];
  char *text =
      tool_format ("%s%s%s", tool_size (info->size, size),
                   info->description[0] ? ", " : "", info->description);

  if (form->plain)
    offer (info->name, text);
  if (form->at)
    offer_joined (info->name, "@", text);
  free (text);
  return 0;
}

static void
offer_disks (bool plain, bool at)
{
  struct disk_form form = { plain, at };
  struct store *store = open_database ();
  struct status status;

  if (store)
    store_list (store, offer_disk, &form, &status);
}

/* OPAQUE stands in front of the name. */
static int
offer_snapshot (const struct snapshot_info *info, void *opaque)
{
  char made[TIMES_TEXT_MAX];

  offer_joined (opaque, info->name, times_local (info->created, made));
  return 0;
}

/* Offer the snapshots of DISK, if one was named, behind BEFORE. */
static void
offer_snapshots (const char *disk, char *before)
{
  struct store *store = disk[0] ? open_database () : NULL;
  struct status status;

  if (store)
    manage_list_snapshots (store, disk, offer_snapshot, before, &status);
}

/* The disk of the second operand, which snapshots without a disk belong to;
 * "" where there is none.
 */
static const char *
current_disk (void)
{
  return line.operand_count > 1 ? tool_target (line.operands[1]).disk : "";
}

/* Offer names of the KIND that a word of the usage is, such as DISK or
 * DISK@SNAPSHOT.  Snapshots, of which there may be many, come after "@".
 */
static void
offer_names (const char *kind)
{
  const char *at = strchr (typed, '@');
  const bool snapshots = strstr (kind, "@SNAPSHOT");

  if (at == NULL)
    offer_disks (!snapshots || strstr (kind, "[@SNAPSHOT"), snapshots);
  else if (snapshots && at == typed) {
    char before[] = "@";

    offer_snapshots (current_disk (), before);
  }
  else if (snapshots)
    offer_snapshots (tool_target (typed).disk,
                     tool_format ("%.*s", (int)(at + 1 - typed), typed));
}

/* Offer the name of a disk in the trash, with OPAQUE its number. */
static int
offer_trashed (const struct trashed_disk *disk, void *opaque)
{
  char id[24], deleted[TIMES_TEXT_MAX];

  times_local (disk->deleted, deleted);
  snprintf (id, sizeof id, "%" PRId64, disk->disk.id);
  if (opaque)
    offer (id, disk->name);
  else
    offer (disk->name[0] ? disk->name : "?", deleted);
  return 0;
}

/* Offer what is in the trash: names, or with IDS numbers. */
static void
offer_trash (bool ids)
{
  struct store *store = open_database ();
  struct status status;

  if (store)
    manage_list_trash (store, offer_trashed, ids ? &ids : NULL, &status);
}

/*--------------------------------------------------------------------
 * Properties and holds.
 */

/* Offer what stands behind BEGINNING in the keys of the properties of TARGET,
 * or with WHOLE the keys themselves.
 */
static void
offer_keys (const char *target, const char *beginning, bool whole)
{
  struct store *store = open_database ();
  struct optional list = { 0 };
  struct status status;

  if (store)
    manage_properties (store, target, &list, &status);
  for (size_t i = 0; i < list.property_count; i++) {
    const char *key = list.properties[i].key;
    const char *behind = optional_key_behind (key, beginning);

    if (behind)
      offer (whole ? key : behind, "");
  }
  optional_free (&list);
}

/* The names of snapshots, gathered, since what is called for each holds a
 * read transaction.
 */
struct names {
  char **names;
  size_t count;
};

static int
add_name (const struct snapshot_info *info, void *opaque)
{
  struct names *all = opaque;

  all->names = tool_realloc (all->names, (all->count + 1) * sizeof *all->names);
  all->names[all->count++] = tool_format ("%s@%s", info->disk_name, info->name);
  return 0;
}

/* For a new hold: the tags of those that other snapshots have. */
static void
offer_tags_of_others (const char *target)
{
  struct store *store = open_database ();
  struct names all = { NULL, 0 };
  struct status status;

  if (store)
    manage_list_snapshots (store, NULL, add_name, &all, &status);
  for (size_t i = 0; i < all.count; i++) {
    if (strcmp (all.names[i], target) != 0)
      offer_keys (all.names[i], PROPERTY_HOLD, false);
    free (all.names[i]);
  }
  free (all.names);
}

static void offer_value (const char *kind);

/* What "set" takes stands in its help: "  KEY=KIND   what it is". */
static void
offer_property (void)
{
  const char *equals = strchr (typed, '=');
  const char *row = line.command->help;

  while (row) {
    const char *rest = row + 2;
    char *property = begins (row, "  ") && row[2] >= 'a' && row[2] <= 'z'
                         ? next_word (&rest, " \n")
                         : NULL;
    const size_t key = property ? strcspn (property, "=") : 0;
    const size_t fixed = property ? strcspn (property, ":=") + 1 : 0;

    if (property && property[key] && equals == NULL &&
        strchr (typed, ':') == NULL) {
      char *word = tool_format ("%.*s", (int)fixed, property);
      char *text = next_word (&rest, "\n");

      offer (word, text ? text + strspn (text, " ") : "");
      free (text);
      free (word);
    }
    else if (property && property[key] && equals &&
             (size_t)(equals - typed) == key &&
             strncmp (property, typed, key) == 0) {
      kept = key + 1;
      offer_value (property + key + 1);
    }
    free (property);
    row = strchr (row, '\n');
    row = row ? row + 1 : NULL;
  }
}

/* The names of properties, for "get", which takes several with commas between
 * them, also of those that can only be READ.
 */
static void
offer_property_names (bool read)
{
  const char *comma = read ? strrchr (typed, ',') : NULL;
  const struct setting *setting;

  if (comma)
    kept = comma + 1 - typed;
  for (unsigned i = 0; (setting = setting_number (i)) != NULL; i++)
    offer (setting->name, "");
  for (unsigned i = 0; read && tool_read_only (i); i++)
    offer (tool_read_only (i), "");
  if (read)
    offer (PROPERTY_DESCRIPTION, "");
  if (line.operand_count > 1)
    offer_keys (line.operands[1], PROPERTY_USER, true);
}

/*--------------------------------------------------------------------
 * Arguments.
 */

/* Offer the titles of the columns of a list, of which SEVERAL may stand with
 * commas between them; its help has them, up to a full stop.
 */
static void
offer_titles (bool several)
{
  const char *comma = several ? strrchr (typed + kept, ',') : NULL;
  const char *at = strstr (line.command->help, "Columns: ");
  bool last = at == NULL;

  if (comma)
    kept = comma + 1 - typed;
  at += last ? 0 : strlen ("Columns: ");
  while (!last) {
    char *title = next_word (&at, " .\n");

    for (char *letter = title; letter && *letter; letter++)
      *letter = tolower ((unsigned char)*letter);
    if (title)
      offer (title, "");
    last = title == NULL || *at == '.';
    free (title);
  }
}

/* Offer what an option or a property of the KIND can be. */
static void
offer_value (const char *kind)
{
  const char *rest = kind;
  char *word;

  if (strcmp (kind, "HOW") == 0)
    for (unsigned i = 0; store_codec (i); i++)
      offer (store_codec (i), "");
  else if (strcmp (kind, "SNAPSHOT") == 0) {
    char before[] = "";

    offer_snapshots (current_disk (), before);
  }
  else if (strcmp (kind, "ID") == 0)
    offer_trash (true);
  else if (strcmp (kind, "TITLE") == 0 || strcmp (kind, "TITLES") == 0)
    offer_titles (kind[strlen ("TITLE")] == 'S');
  else if (strcmp (kind, "FORMAT") == 0)
    offer_value (strcmp (line.command->name, "export") == 0
                     ? destination_formats
                     : source_formats);
  else if (strcmp (kind, "WHEN") == 0) {
    offer ("always", "");
    offer ("auto", "");
    offer ("never", "");
  }
  else if (strcmp (kind, "FILE") == 0 || strcmp (kind, "SOCKET") == 0)
    offer_files ("file");
  else if (strcmp (kind, "DISK") == 0)
    offer_disks (true, false);
  else if (strcmp (kind, "KEY") == 0 && line.operand_count > 1)
    offer_keys (line.operands[1], PROPERTY_USER, true);
  else
    /* Words in small letters stand for themselves: "SIZE|none". */
    while ((word = next_word (&rest, "|")) != NULL) {
      if (word[0] >= 'a' && word[0] <= 'z')
        offer (word, "");
      free (word);
    }
}

/* The word of the usage for the next operand: a new string, or NULL.  The last
 * may stand for several.
 */
static char *
next_kind (void)
{
  const char *rest = line.command->arguments;
  char *kind = next_word (&rest, " ");

  for (int i = 0; i < line.operand_count && kind; i++) {
    char *next = next_word (&rest, " ");

    if (next == NULL && strstr (kind, "..."))
      break;
    free (kind);
    kind = next;
  }
  return kind;
}

/* Was the option --NAME given? */
static bool
is_given (const char *name)
{
  for (size_t i = 0; i < line.option_count; i++)
    if (strcmp (line.options[i]->name, name) == 0)
      return line.given[i];
  return false;
}

static void
offer_operand (void)
{
  const char *command = line.command->name;
  char *kind = next_kind ();

  if (kind == NULL || begins (kind, "--") ||
      (strcmp (command, "create") == 0 && strcmp (kind, "DISK") == 0)) {
    /* There is nothing more, or what is made needs a new name. */
  }
  else if (strstr (kind, "DATABASE"))
    offer_files ("database");
  else if (strcmp (command, "inherit") == 0 && begins (kind, "PROPERTY"))
    offer_property_names (false);
  else if (strstr (kind, "PROPERTY"))
    offer_property ();
  else if (strcmp (command, "get") == 0 && begins (kind, "[NAME"))
    offer_property_names (true);
  else if (strstr (kind, "FILE") || strcmp (kind, "DIRECTORY") == 0)
    offer_files ("file");
  else if (strcmp (kind, "TAG") == 0 && strcmp (command, "snapshot hold") == 0)
    offer_tags_of_others (line.operands[1]);
  else if (strcmp (kind, "TAG") == 0)
    offer_keys (line.operands[1], PROPERTY_HOLD, false);
  else if (strcmp (command, "undelete") == 0 ||
           strcmp (command, "trash empty") == 0) {
    if (line.operand_count == 1)
      offer_trash (false);
  }
  else if (strcmp (command, "snapshot create") == 0)
    offer_disks (false, strchr (typed, '@') == NULL);
  else if (strcmp (command, "snapshot delete") == 0 && is_given ("all"))
    offer_names ("DISK");
  else if (strstr (kind, "DISK")) {
    offer_names (kind);
    if (strstr (kind, "|/"))
      offer (TARGET_DATABASE, "the database itself");
    if (strcmp (command, "set") == 0)
      offer_property ();
  }
  free (kind);
}

/*--------------------------------------------------------------------
 * The command line.
 */

/* Take the VALUE of an option: where there is a server, it is to be asked. */
static void
take_value (const struct tool_option *option, const char *value)
{
  if (strcmp (option->name, "control") == 0)
    common.control = value[0] ? value : NULL;
}

/* Take the option at NUMBER; VALUE is what stands in its word behind it, or
 * NULL where that would be the next word.
 */
static void
take_option (size_t number, const char *value)
{
  line.given[number] = true;
  if (line.options[number]->argument && value == NULL)
    line.waiting = line.options[number];
  else if (value)
    take_value (line.options[number], value);
}

/* Read WORD, which begins with "--". */
static void
read_long_option (const char *word)
{
  const size_t length = strcspn (word + 2, "=");
  const char *value = word[2 + length] ? word + 3 + length : NULL;

  for (size_t i = 0; i < line.option_count; i++)
    if (strlen (line.options[i]->name) == length &&
        strncmp (line.options[i]->name, word + 2, length) == 0)
      take_option (i, value);
}

/* Read WORD, "-d" or "-dTEXT", or several such as "-nq". */
static void
read_letters (const char *word)
{
  for (const char *letter = word + 1; *letter; letter++)
    for (size_t i = 0; i < line.option_count; i++)
      if (line.options[i]->letter == *letter) {
        take_option (i, letter[1] ? letter + 1 : NULL);
        if (line.options[i]->argument)
          return;
      }
}

/* Read the COUNT words between the name of the command and the cursor. */
static void
read_words (int count, char *words[])
{
  line.operands = tool_alloc ((count + 1) * sizeof *line.operands);
  for (int i = 0; i < count; i++) {
    char *word = words[i];

    if (line.waiting) {
      take_value (line.waiting, path_of_word (word));
      line.waiting = NULL;
    }
    else if (line.only_operands || !is_option (word))
      line.operands[line.operand_count++] = word;
    else if (strcmp (word, "--") == 0)
      line.only_operands = true;
    else if (word[1] == '-')
      read_long_option (word);
    else
      read_letters (word);
  }
}

/* The word typed is an option, perhaps with the beginning of its argument. */
static void
offer_option (void)
{
  const char *equals = strchr (typed, '=');

  if (equals == NULL) {
    offer_options ();
    return;
  }
  kept = equals + 1 - typed;
  for (size_t i = 0; i < line.option_count; i++)
    if (line.options[i]->argument &&
        strlen (line.options[i]->name) == (size_t)(equals - typed - 2) &&
        begins (typed + 2, line.options[i]->name))
      offer_value (line.options[i]->argument);
}

/* Behind the name of the command. */
static void
offer_argument (void)
{
  if (line.waiting)
    offer_value (line.waiting->argument);
  else if (typed[0] == '-' && !line.only_operands)
    offer_option ();
  else
    offer_operand ();
}

/* The COUNT words, without the typed one, begin with a command, or ask for the
 * HELP of one.
 */
static void
offer_behind (int count, char *words[], bool help)
{
  int used;

  line.command = tool_find_command (count, words, &used);
  if (line.command == NULL) {
    if (count == 1)
      offer_second_words (words[0]);
  }
  else if (!help) {
    line.option_count = tool_gather_options (line.command, line.options);
    read_words (count - used, words + used);
    offer_argument ();
  }
}

/* The database is locked, or its file system is slow. */
static void
give_up (int number)
{
  (void)number;
  _exit (TOOL_DONE);
}

int
complete (int count, char *words[])
{
  static const char front[] = "--control=";
  const char *control = getenv (TOOL_CONTROL_VARIABLE);
  int first = 0;
  bool help = false;

  if (count == 0)
    return tool_usage ("complete which words?");
  signal (SIGALRM, give_up);
  alarm (PATIENCE);
  typed = words[--count];
  if (control && control[0])
    common.control = control;
  for (; first < count && words[first][0] == '-'; first++)
    if (begins (words[first], front) && words[first][sizeof front - 1])
      common.control = words[first] + sizeof front - 1;
  if (first == 0 && count > 0 && strcmp (words[0], "help") == 0) {
    help = true;
    first = 1;
  }
  if (first < count)
    offer_behind (count - first, words + first, help);
  else {
    offer_first_words ();
    if (first == 0) {
      offer ("help", "Say more about a command");
      offer ("--help", "List the commands");
      offer ("--version", "Say which version this is");
    }
  }
  return TOOL_DONE;
}
