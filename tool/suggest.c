/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* "Did you mean": see suggest.h.
 *
 * Names are near by how many letters were left out, put in, mistaken, or
 * swapped with the next one (the restricted Damerau-Levenshtein distance).
 */

#include <config.h>

#include <string.h>

#include "suggest.h"
#include "tool.h"

/* So many letters of a name stand for it. */
#define BEGINNING 3

/* No name is longer. */
#define LONGEST (sizeof ((struct suggestion *)NULL)->name - 1)

static size_t
least (size_t a, size_t b)
{
  return a < b ? a : b;
}

/* The distance of two words of at most LONGEST bytes. */
static size_t
distance (const char *a, size_t a_length, const char *b, size_t b_length)
{
  size_t table[LONGEST + 1][LONGEST + 1];

  for (size_t i = 0; i <= a_length; i++)
    for (size_t j = 0; j <= b_length; j++) {
      if (i == 0 || j == 0) {
        table[i][j] = i + j;
        continue;
      }
      table[i][j] = least (least (table[i - 1][j], table[i][j - 1]) + 1,
                           table[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        table[i][j] = least (table[i][j], table[i - 2][j - 2] + 1);
    }
  return table[a_length][b_length];
}

/* How far a word of LENGTH bytes may be from what it was to be. */
static size_t
far_enough (size_t length)
{
  return length <= 2 ? 1 : length <= 5 ? 2 : 3;
}

void
suggestion_begin (struct suggestion *suggestion, const char *word)
{
  suggestion->word = word;
  suggestion->name[0] = '\0';
  suggestion->distance = far_enough (strlen (word));
}

void
suggestion_offer (struct suggestion *suggestion, const char *name,
                  size_t length)
{
  const size_t word_length = strlen (suggestion->word);
  size_t far;

  if (word_length == 0 || word_length > LONGEST || length > LONGEST)
    return;
  far = word_length >= BEGINNING &&
                strncmp (name, suggestion->word, word_length) == 0
            ? 0
            : distance (suggestion->word, word_length, name, length);
  if (far >= suggestion->distance || far >= word_length)
    return;
  memcpy (suggestion->name, name, length);
  suggestion->name[length] = '\0';
  suggestion->distance = far;
}

char *
suggestion_text (const struct suggestion *suggestion, const char *family)
{
  if (suggestion->name[0] == '\0')
    return tool_strdup ("");
  return tool_format ("; did you mean '%s%s%s'?", family, *family ? " " : "",
                      suggestion->name);
}
