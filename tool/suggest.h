/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* "Did you mean": what a word that nobody knows was probably to be. */

#ifndef SQLBLOCK_SUGGEST_H
#define SQLBLOCK_SUGGEST_H

#include <stddef.h>

/* The nearest of names to a word, as they are told one by one. */
struct suggestion {
  const char *word;
  char name[32]; /* "" while none is near enough */
  size_t distance;
};

/* Begin with no name, for WORD, which lives as long. */
void suggestion_begin (struct suggestion *suggestion, const char *word);

/* Tell of a name, the first LENGTH bytes of NAME. */
void suggestion_offer (struct suggestion *suggestion, const char *name,
                       size_t length);

/* "; did you mean 'list'?", or behind the word FAMILY, if that is not "",
 * "; did you mean 'snapshot list'?", or "", as a new string.
 */
char *suggestion_text (const struct suggestion *suggestion, const char *family);

#endif /* SQLBLOCK_SUGGEST_H */
