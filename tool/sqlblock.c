/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The command sqlblock: what the user means.
 *
 * Finds the command among all, reads its options and checks its arguments,
 * then lets it work.  Everything that is said about a command, its help and
 * what completion knows of it, comes from its struct command.
 */

#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/child.h"
#include "suggest.h"
#include "tool.h"

/* All of them, in the order of the help; each is in a commands-*.c or a file
 * of its own.
 */
#define EACH_COMMAND(X)                                                        \
  X (create)                                                                   \
  X (list)                                                                     \
  X (info)                                                                     \
  X (df)                                                                       \
  X (usage)                                                                    \
  X (rename)                                                                   \
  X (describe)                                                                 \
  X (resize)                                                                   \
  X (delete)                                                                   \
  X (undelete)                                                                 \
  X (trash_list)                                                               \
  X (trash_empty)                                                              \
  X (snapshot_create)                                                          \
  X (snapshot_list)                                                            \
  X (snapshot_delete)                                                          \
  X (snapshot_hold)                                                            \
  X (snapshot_release)                                                         \
  X (bookmark_create)                                                          \
  X (bookmark_list)                                                            \
  X (bookmark_delete)                                                          \
  X (rollback)                                                                 \
  X (clone)                                                                    \
  X (flatten)                                                                  \
  X (diff)                                                                     \
  X (map)                                                                      \
  X (export)                                                                   \
  X (import)                                                                   \
  X (send)                                                                     \
  X (receive)                                                                  \
  X (stream_info)                                                              \
  X (backup)                                                                   \
  X (upgrade)                                                                  \
  X (compact)                                                                  \
  X (check)                                                                    \
  X (break_lock)                                                               \
  X (get)                                                                      \
  X (set)                                                                      \
  X (inherit)                                                                  \
  X (key_list)                                                                 \
  X (key_add)                                                                  \
  X (key_change)                                                               \
  X (key_remove)                                                               \
  X (recompress)                                                               \
  X (status)                                                                   \
  X (attach)                                                                   \
  X (detach)                                                                   \
  X (attached)                                                                 \
  X (mount)                                                                    \
  X (umount)                                                                   \
  X (top)

#define DECLARED(name) extern const struct command command_##name;
#define LISTED(name)   &command_##name,

EACH_COMMAND (DECLARED)

const struct command *const tool_commands[] = { EACH_COMMAND (LISTED) NULL };

/* Other names, as of other programs: the words that can stand for a word of a
 * command's name.
 */
static const struct {
  const char *word, *stands_for;
} aliases[] = {
  { "ls", "list" },
  { "rm", "delete" },
  { "snap", "snapshot" },
};

#define ALIASES (sizeof aliases / sizeof aliases[0])

/* What people call a command who know zfs, rbd, lvm or a shell, but what is no
 * name of it here.
 */
static const struct {
  const char *word, *means;
} hints[] = {
  { "destroy", "delete" }, { "remove", "delete" }, { "new", "create" },
  { "mv", "rename" },      { "recv", "receive" },  { "show", "info" },
  { "verify", "check" },   { "scrub", "check" },   { "revert", "rollback" },
  { "unmount", "umount" },
};

#define HINTS (sizeof hints / sizeof hints[0])

/*--------------------------------------------------------------------
 * Options that many commands have.
 */

struct common common;

static bool want_help, want_progress, want_no_progress, is_one_machine;
static const char *control;

static const struct tool_option json_option[] = {
  { "json", 0, NULL, &common.json, "print JSON; sizes are in bytes" },
  { NULL, 0, NULL, NULL, NULL },
};
static const struct tool_option dry_run_option[] = {
  { "dry-run", 'n', NULL, &common.dry_run,
    "change nothing, only say what would be done" },
  { NULL, 0, NULL, NULL, NULL },
};
static const struct tool_option force_option[] = {
  { "force", 'f', NULL, &common.force,
    "do it even while a server has the disk open; its\n"
    "clients' requests then fail" },
  { NULL, 0, NULL, NULL, NULL },
};
static const struct tool_option table_options[] = {
  { "columns", 'o', "TITLES", &common.columns,
    "show these columns, with commas between them" },
  { "sort", 's', "TITLE", &common.sort, "sort by this column" },
  { "sort-down", 'S', "TITLE", &common.sort_down,
    "the same, with the largest or last first" },
  { "exact", 'p', NULL, &common.exact,
    "sizes in bytes, times in seconds since 1970" },
  { "bare", 'H', NULL, &common.bare,
    "print no titles, and tabs between columns" },
  { NULL, 0, NULL, NULL, NULL },
};
static const struct tool_option key_options[] = {
  { "key-file", 0, "FILE", &common.key_file,
    "the key of an encrypted disk, or one of its slots" },
  { "passphrase", 0, "SOURCE", &common.passphrase,
    "the same: +FILE, -FD, or - to be asked for it" },
  { NULL, 0, NULL, NULL, NULL },
};
static const struct tool_option progress_options[] = {
  { "progress", 0, NULL, &want_progress,
    "show progress even if stderr is no terminal" },
  { "no-progress", 0, NULL, &want_no_progress, "show no progress" },
  { NULL, 0, NULL, NULL, NULL },
};
static const struct tool_option all_options[] = {
  { "one-machine", 0, NULL, &is_one_machine,
    "no other machine has DATABASE open, though its file\n"
    "system may be shared with others" },
  { "control", 0, "SOCKET", &control,
    "do it through the server that has DATABASE open and\n"
    "control=SOCKET (default: " TOOL_CONTROL_VARIABLE " in the\n"
    "environment, if that is set)" },
  { "quiet", 'q', NULL, &common.quiet, "print no more than data and errors" },
  { "help", 'h', NULL, &want_help, "print this help" },
  { NULL, 0, NULL, NULL, NULL },
};

size_t
tool_gather_options (const struct command *command,
                     const struct tool_option *options[TOOL_OPTIONS_MAX])
{
  const struct tool_option *const tables[] = {
    command->options,
    command->common & COMMON_FORCE ? force_option : NULL,
    command->common & COMMON_DRY_RUN ? dry_run_option : NULL,
    command->common & COMMON_TABLE ? table_options : NULL,
    command->common & COMMON_KEY ? key_options : NULL,
    command->common & COMMON_JSON ? json_option : NULL,
    command->common & COMMON_PROGRESS ? progress_options : NULL,
    all_options,
  };
  size_t count = 0;

  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
    for (const struct tool_option *option = tables[i]; option && option->name;
         option++) {
      if (count == TOOL_OPTIONS_MAX)
        abort ();
      options[count++] = option;
    }
  return count;
}

/*--------------------------------------------------------------------
 * Help.
 */

static const char usage_text[] =
    "Usage: sqlblock COMMAND DATABASE [DISK[@SNAPSHOT]] [OPTION]...\n"
    "\n"
    "Manages the virtual disks in an SQLite database, which nbdkit's plugin\n"
    "sqlblock serves.  It may be used while a server runs.\n"
    "\n"
    "Commands:\n";

static const char more_help_text[] =
    "\n"
    "Short names: ls is list, rm is delete, snap is snapshot.\n"
    "\n"
    "\"sqlblock COMMAND --help\" says more about a command, "
    "\"sqlblock --version\" which\n"
    "version this is.\n"
    "\n"
    "Exit codes:\n";

/* What an exit code means, the same for every command.  The manual has the
 * same words.
 */
static const char *const exit_codes[] = {
  [TOOL_DONE] = "done",
  [TOOL_FAILED] = "failed; nothing was changed, unless the message says so",
  [TOOL_USAGE] = ("not understood: a command, an option, a name, a size or a\n"
                  "word that can never be right"),
  [TOOL_NOT_FOUND] = "there is no such file, disk or snapshot, or no server",
  [TOOL_EXISTS] = "it exists already, or the disk has snapshots",
  [TOOL_BUSY] = "refused, since others use it; nothing was changed",
  [TOOL_DAMAGED] = "a check has found something wrong",
};

/* Options begin in this column of the help, and what they do in that. */
#define OPTION_INDENT 2
#define OPTION_COLUMN 28

/* What an exit code means begins in this one. */
#define CODE_COLUMN 5

/* Print the lines of TEXT; the first begins in column AT, and all are to
 * begin in column COLUMN.
 */
static void
print_indented (const char *text, int at, int column)
{
  while (*text) {
    const size_t length = strcspn (text, "\n");

    if (at + 1 >= column) {
      putchar ('\n');
      at = 0;
    }
    printf ("%*s%.*s\n", column - at, "", (int)length, text);
    text += length + (text[length] == '\n');
    at = 0;
  }
}

static void
print_option (const struct tool_option *option)
{
  char letter[] = "-?, ";
  int width;

  letter[1] = option->letter;
  width = printf ("%*s%s--%s%s%s", OPTION_INDENT, "",
                  option->letter ? letter : "    ", option->name,
                  option->argument ? "=" : "",
                  option->argument ? option->argument : "");
  print_indented (option->help, width, OPTION_COLUMN);
}

static int
print_help (const struct command *command)
{
  const struct tool_option *options[TOOL_OPTIONS_MAX];
  const size_t count = tool_gather_options (command, options);

  printf ("Usage: sqlblock %s%s%s [OPTION]...\n\n%s.\n\n%s\nOptions:\n",
          command->name, command->arguments[0] ? " " : "", command->arguments,
          command->summary, command->help);
  for (size_t i = 0; i < count; i++)
    print_option (options[i]);
  return TOOL_DONE;
}

static int
print_commands (void)
{
  fputs (usage_text, stdout);
  for (const struct command *const *c = tool_commands; *c; c++)
    printf ("  %-18s %s\n", (*c)->name, (*c)->summary);
  fputs (more_help_text, stdout);
  for (size_t i = 0; i < sizeof exit_codes / sizeof exit_codes[0]; i++)
    print_indented (exit_codes[i], printf ("  %zu", i), CODE_COLUMN);
  return TOOL_DONE;
}

/* The command that is being done, once it is known. */
static const struct command *current;

int
tool_usage (const char *format, ...)
{
  va_list arguments;

  fputs ("sqlblock: ", stderr);
  va_start (arguments, format);
  vfprintf (stderr, format, arguments);
  va_end (arguments);
  if (current)
    fprintf (stderr,
             "\nUsage: sqlblock %s%s%s [OPTION]...\n"
             "\"sqlblock %s --help\" says more.\n",
             current->name, current->arguments[0] ? " " : "",
             current->arguments, current->name);
  else
    fputs ("\n\"sqlblock --help\" lists the commands.\n", stderr);
  return TOOL_USAGE;
}

/*--------------------------------------------------------------------
 * From the command line to a command.
 */

/* Is WORD the first of two words of a command's name? */
static bool
is_family (const char *word)
{
  const size_t length = strlen (word);

  for (const struct command *const *c = tool_commands; *c; c++)
    if (strncmp ((*c)->name, word, length) == 0 && (*c)->name[length] == ' ')
      return true;
  return false;
}

/* Put what they stand for in place of aliases among the first two of COUNT
 * WORDS: of the second only where the first is one of two.
 */
static void
resolve_aliases (int count, char *words[])
{
  for (int i = 0; i < count && i < 2 && (i == 0 || is_family (words[0])); i++)
    for (size_t j = 0; j < ALIASES; j++)
      if (strcmp (words[i], aliases[j].word) == 0) {
        words[i] = tool_strdup (aliases[j].stands_for);
        break;
      }
}

const struct command *
tool_find_command (int count, char *words[], int *used)
{
  resolve_aliases (count, words);
  for (const struct command *const *c = tool_commands; *c; c++) {
    const char *name = (*c)->name;
    const size_t length = strcspn (name, " ");

    if (strlen (words[0]) != length || strncmp (name, words[0], length) != 0)
      continue;
    *used = name[length] == ' ' ? 2 : 1;
    if (*used == 1 || (count > 1 && strcmp (name + length + 1, words[1]) == 0))
      return *c;
  }
  return NULL;
}

/* List the commands whose first word is WORD. */
static void
print_family (FILE *output, const char *word)
{
  const size_t length = strlen (word);

  for (const struct command *const *c = tool_commands; *c; c++)
    if (strncmp ((*c)->name, word, length) == 0 && (*c)->name[length] == ' ')
      fprintf (output, "  sqlblock %-18s %s\n", (*c)->name, (*c)->summary);
}

/* "; did you mean ...?" for WORD, which is no first word of a command. */
static char *
suggest_command (const char *word)
{
  struct suggestion suggestion;

  for (size_t i = 0; i < HINTS; i++)
    if (strcmp (word, hints[i].word) == 0)
      return tool_format ("; did you mean '%s'?", hints[i].means);
  suggestion_begin (&suggestion, word);
  for (const struct command *const *c = tool_commands; *c; c++)
    suggestion_offer (&suggestion, (*c)->name, strcspn ((*c)->name, " "));
  return suggestion_text (&suggestion, "");
}

/* The same for the second word behind FAMILY. */
static char *
suggest_second (const char *family, const char *word)
{
  const size_t length = strlen (family);
  struct suggestion suggestion;

  suggestion_begin (&suggestion, word);
  for (const struct command *const *c = tool_commands; *c; c++) {
    const char *name = (*c)->name;

    if (strncmp (name, family, length) == 0 && name[length] == ' ')
      suggestion_offer (&suggestion, name + length + 1,
                        strlen (name + length + 1));
  }
  return suggestion_text (&suggestion, family);
}

/* Fail for WORDS, which are no command. */
static int
unknown_command (int count, char *words[])
{
  char *suggested;
  int code;

  if (!is_family (words[0])) {
    suggested = suggest_command (words[0]);
    code = tool_usage ("there is no command '%s'%s", words[0], suggested);
    free (suggested);
    return code;
  }
  if (count > 1 &&
      (strcmp (words[1], "--help") == 0 || strcmp (words[1], "-h") == 0)) {
    print_family (stdout, words[0]);
    return TOOL_DONE;
  }
  suggested = suggest_second (words[0], count > 1 ? words[1] : "");
  code = count > 1 ? tool_usage ("there is no command '%s %s'%s", words[0],
                                 words[1], suggested)
                   : tool_usage ("'%s' needs a second word", words[0]);
  free (suggested);
  print_family (stderr, words[0]);
  return code;
}

static int
help (int count, char *words[])
{
  int used;

  if (count == 0)
    return print_commands ();
  resolve_aliases (count, words);
  if (count == 1 && is_family (words[0])) {
    print_family (stdout, words[0]);
    return TOOL_DONE;
  }
  current = tool_find_command (count, words, &used);
  if (current == NULL)
    return unknown_command (count, words);
  if (used < count)
    return tool_usage ("there is no command '%s %s'", words[0], words[used]);
  return print_help (current);
}

/* Take an option that was found on the command line. */
static int
set_option (const struct tool_option *option, const char *argument)
{
  const bool twice = option->argument ? *(const char **)option->value != NULL
                                      : *(bool *)option->value;

  if (twice) {
    tool_usage ("option '--%s' was given twice", option->name);
    return -1;
  }
  if (option->argument == NULL)
    *(bool *)option->value = true;
  else {
    if (arguments_check_value (option, argument) != TOOL_DONE)
      return -1;
    *(const char **)option->value = argument;
  }
  return 0;
}

/* "; did you mean ...?" for WORD, which is none of the COUNT OPTIONS. */
static char *
suggest_option (const struct tool_option *const *options, size_t count,
                const char *word)
{
  char *name = tool_strdup (word);
  struct suggestion suggestion;
  char *text;

  name[strcspn (name, "=")] = '\0';
  suggestion_begin (&suggestion, name);
  for (size_t i = 0; i < count; i++) {
    char *option = tool_format ("--%s", options[i]->name);

    suggestion_offer (&suggestion, option, strlen (option));
    free (option);
  }
  text = suggestion_text (&suggestion, "");
  free (name);
  return text;
}

/* Say why getopt_long did not like WORD, where there are COUNT OPTIONS. */
static int
refuse_option (const struct tool_option *const *options, size_t count,
               int found, const char *word)
{
  char *suggested;

  if (found == ':')
    tool_usage ("option '%s' needs an argument", word);
  else if (optopt >= 256)
    tool_usage ("option '%.*s' takes no argument", (int)strcspn (word, "="),
                word);
  else if (optopt)
    tool_usage ("there is no option '-%c'", optopt);
  else {
    suggested = suggest_option (options, count, word);
    tool_usage ("there is no option '%s', or it could be several%s", word,
                suggested);
    free (suggested);
  }
  return -1;
}

/* What getopt_long is told: the options in the form that it wants. */
struct getopt_tables {
  struct option names[TOOL_OPTIONS_MAX + 1];
  char letters[2 + 2 * TOOL_OPTIONS_MAX + 3 * 10 + 1];
};

static void
fill_tables (struct getopt_tables *tables,
             const struct tool_option *const *options, size_t count)
{
  /* "-": arguments in order; ":": tell what is missing from unknown.  Words
   * such as -10G are arguments, "resize" takes them.
   */
  char *letter = stpcpy (tables->letters, "-:0::1::2::3::4::5::6::7::8::9::");

  for (size_t i = 0; i < count; i++) {
    tables->names[i].name = options[i]->name;
    tables->names[i].has_arg =
        options[i]->argument ? required_argument : no_argument;
    tables->names[i].val = 256 + i;
    if (options[i]->letter)
      *letter++ = options[i]->letter;
    if (options[i]->letter && options[i]->argument)
      *letter++ = ':';
  }
}

/* The option that getopt_long FOUND, or NULL. */
static const struct tool_option *
find_option (const struct tool_option *const *options, size_t count, int found)
{
  if (found >= 256)
    return options[found - 256];
  for (size_t i = 0; i < count; i++)
    if (options[i]->letter && options[i]->letter == found)
      return options[i];
  return NULL;
}

/* Read the options of the current command from ARGV; what is left are the
 * arguments, put into OPERANDS.  Returns how many, -1 for a usage error.
 */
static int
read_options (int argc, char *argv[], char *operands[])
{
  const struct tool_option *options[TOOL_OPTIONS_MAX];
  const size_t count = tool_gather_options (current, options);
  struct getopt_tables tables = { 0 };
  int found, operand_count = 0;

  fill_tables (&tables, options, count);
  opterr = 0;
  while ((found = getopt_long (argc, argv, tables.letters, tables.names,
                               NULL)) != -1) {
    const struct tool_option *option = find_option (options, count, found);

    if (option && set_option (option, optarg) == -1)
      return -1;
    if (option == NULL && (found == '?' || found == ':'))
      return refuse_option (options, count, found, argv[optind - 1]);
    if (option == NULL)
      operands[operand_count++] = found == 1 ? optarg : argv[optind - 1];
  }
  while (optind < argc)
    operands[operand_count++] = argv[optind++];
  if (want_progress && want_no_progress) {
    tool_usage ("--progress and --no-progress exclude each other");
    return -1;
  }
  store_set_one_machine (is_one_machine);
  if (control == NULL)
    control = getenv (TOOL_CONTROL_VARIABLE);
  common.control = control && control[0] ? control : NULL;
  common.progress = want_progress ? 1 : want_no_progress ? -1 : 0;
  return operand_count;
}

int
tool_alone (const char *what)
{
  return tool_error (ENOTSUP,
                     "%s does not work through a server: it opens the database "
                     "by itself; leave out --control, or unset %s",
                     what, TOOL_CONTROL_VARIABLE);
}

/* Does TEXT begin with WORD, or that as a choice? */
static bool
is_word (const char *text, const char *word)
{
  const size_t length = strlen (word);

  return strncmp (text, word, length) == 0 &&
         strchr (" |", text[length]) != NULL;
}

/* Do the command whose name ends before ARGV[1]. */
static int
run (int argc, char *argv[])
{
  char **operands = tool_alloc ((argc + 1) * sizeof *operands);
  const int count = read_options (argc, argv, operands);
  int code;

  if (want_help)
    code = print_help (current);
  else if (count == -1)
    code = TOOL_USAGE;
  else if (count < current->least)
    code = count == 0 && strncmp (current->arguments, "DATABASE", 8) == 0
               ? tool_usage ("which database?")
               : tool_usage ("an argument is missing");
  else if (current->most != -1 && count > current->most)
    code = tool_usage ("'%s' is an argument too many", operands[current->most]);
  else {
    code = arguments_check (current, count, operands);
    if (code == TOOL_DONE && common.control && current->alone)
      code = tool_alone (current->name);
    if (code == TOOL_DONE) {
      if (count > 0 && is_word (current->arguments, "DATABASE"))
        tool_check_redirection (operands[0]);
      tool_doing (current->name, count, operands);
      code = current->run (count, operands);
    }
  }
  free (operands);
  return code;
}

/* What was printed must have arrived: "sqlblock export ... >file" on a full
 * file system did not succeed.
 */
static int
finish_output (int code)
{
  const bool failed = ferror (stdout);

  errno = 0;
  if (fclose (stdout) == 0 && !failed)
    return code;
  return tool_error (EIO, "writing the output: %s",
                     strerror (errno ? errno : EIO));
}

/* Options that stand before the command go behind its name, of which there
 * are USED words, if the command begins at ARGV[FIRST].
 */
static void
move_options (int first, int used, char *argv[])
{
  for (; first > 1; first--)
    for (int i = first - 1; i < first - 1 + used; i++) {
      char *word = argv[i];

      argv[i] = argv[i + 1];
      argv[i + 1] = word;
    }
}

/* Find the command in ARGV, and do it. */
static int
find_and_run (int argc, char *argv[])
{
  int first = 1, used;

  while (first < argc && argv[first][0] == '-')
    first++;
  if (first == argc)
    return first == 1
               ? tool_usage ("which command?")
               : tool_usage ("which command?  '%s' is an option", argv[1]);
  current = tool_find_command (argc - first, argv + first, &used);
  if (current == NULL)
    return unknown_command (argc - first, argv + first);
  move_options (first, used, argv);
  return run (argc - used, argv + used);
}

int
main (int argc, char *argv[])
{
  const char *word = argc > 1 ? argv[1] : "";
  int code;

  child_begin ();
  setlocale (LC_CTYPE, "");
  if (strcmp (word, "--version") == 0 || strcmp (word, "-V") == 0)
    code = printf ("sqlblock %s\n", PACKAGE_VERSION) < 0;
  else if (argc == 2 &&
           (strcmp (word, "--help") == 0 || strcmp (word, "-h") == 0))
    code = print_commands ();
  else if (strcmp (word, "help") == 0)
    code = help (argc - 2, argv + 2);
  else if (strcmp (word, "--complete") == 0)
    code = complete (argc - 2, argv + 2);
  else
    code = find_and_run (argc, argv);
  code = finish_output (code);
  tool_end (code);
  return code;
}
