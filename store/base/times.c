/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Times as people write them: see times.h. */

#include <config.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/times.h"

/* The years that are read: they are printed with four digits. */
#define YEAR_MIN 1970
#define YEAR_MAX 9999

/* Read DIGITS digits at *TEXT, which moves past them. */
static bool
parse_digits (const char **text, int digits, int *value)
{
  *value = 0;
  for (; digits > 0; digits--, ++*text) {
    if (!isdigit ((unsigned char)**text))
      return false;
    *value = *value * 10 + (**text - '0');
  }
  return true;
}

/* Read a date, 2026-11-22. */
static bool
parse_date (const char **text, struct tm *time)
{
  static const int days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
  int year, month, day;

  if (!parse_digits (text, 4, &year) || *(*text)++ != '-' ||
      !parse_digits (text, 2, &month) || *(*text)++ != '-' ||
      !parse_digits (text, 2, &day))
    return false;
  time->tm_year = year - 1900;
  time->tm_mon = month - 1;
  time->tm_mday = day;
  return year >= YEAR_MIN && year <= YEAR_MAX && month >= 1 && month <= 12 &&
         day >= 1 && day <= days[month - 1];
}

/* Read a time of day, 10:42, 10:42:30 or 10:42:30.5; the fraction does not
 * count.
 */
static bool
parse_time_of_day (const char **text, struct tm *time)
{
  if (!parse_digits (text, 2, &time->tm_hour) || *(*text)++ != ':' ||
      !parse_digits (text, 2, &time->tm_min))
    return false;
  if (**text == ':') {
    ++*text;
    if (!parse_digits (text, 2, &time->tm_sec))
      return false;
    if (**text == '.' || **text == ',') {
      ++*text;
      *text += strspn (*text, "0123456789");
    }
  }
  return time->tm_hour <= 23 && time->tm_min <= 59 && time->tm_sec <= 60;
}

/* Read a zone, Z, +01, +0100 or +01:00, in seconds east of Greenwich. */
static bool
parse_zone (const char **text, int *east)
{
  const char sign = *(*text)++;
  int hours, minutes = 0;

  *east = 0;
  if (sign == 'Z' || sign == 'z')
    return true;
  if ((sign != '+' && sign != '-') || !parse_digits (text, 2, &hours))
    return false;
  if (**text == ':')
    ++*text;
  if (**text != '\0' && !parse_digits (text, 2, &minutes))
    return false;
  *east = (hours * 60 + minutes) * (sign == '-' ? -60 : 60);
  return hours <= 14 && minutes <= 59;
}

bool
times_parse (const char *text, int64_t *seconds)
{
  struct tm time = { .tm_isdst = -1 };
  int east, day;

  if (!parse_date (&text, &time))
    return false;
  if (*text == 'T' || *text == 't' || *text == ' ') {
    text++;
    if (!parse_time_of_day (&text, &time))
      return false;
  }
  /* The 31st of a short month would become the 1st of the next. */
  day = time.tm_mday;
  if (*text == '\0')
    *seconds = mktime (&time);
  else if (parse_zone (&text, &east) && *text == '\0')
    *seconds = timegm (&time) - east;
  else
    return false;
  return time.tm_mday == day;
}

bool
times_resembles (const char *text)
{
  struct tm time;
  int64_t seconds;

  if (times_parse (text, &seconds))
    return true;
  return parse_date (&text, &time) && (*text == '\0' || strchr ("Tt ", *text));
}

char *
times_local (int64_t seconds, char *text)
{
  const time_t time = seconds;
  struct tm local;
  char zone[8];

  if (localtime_r (&time, &local) == NULL ||
      strftime (text, TIMES_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &local) == 0)
    return strcpy (text, "?");
  /* +0100 becomes +01:00. */
  if (strftime (zone, sizeof zone, "%z", &local) == 5)
    sprintf (text + strlen (text), "%.3s:%.2s", zone, zone + 3);
  return text;
}

char *
times_utc (int64_t seconds, char *text)
{
  const time_t time = seconds;
  struct tm utc;

  if (gmtime_r (&time, &utc) == NULL ||
      strftime (text, TIMES_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
    return strcpy (text, "?");
  return text;
}

bool
times_parse_span (const char *text, int64_t *seconds)
{
  static const struct {
    char unit;
    int seconds;
  } units[] = {
    { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 },
  };
  char *end;
  long number;

  if (!isdigit ((unsigned char)*text))
    return false;
  number = strtol (text, &end, 10);
  if (number < 1 || number > 1000000000 || end[0] == '\0' || end[1] != '\0')
    return false;
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
    if (*end == units[i].unit) {
      *seconds = (int64_t)number * units[i].seconds;
      return true;
    }
  return false;
}
