/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Layers that work has failed at: see failed.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/failed.h"
#include "base/grow.h"

bool
failed_is_local (const struct status *status)
{
  return status_is_damage (status) || status->error == ENOTSUP ||
         (status->sqlite == 0 &&
          (status->error == EIO || status->error == EROFS));
}

bool
failed_layers_has (const struct failed_layers *failed, int64_t layer)
{
  for (size_t i = 0; failed && i < failed->count; i++)
    if (failed->layers[i] == layer)
      return true;
  return false;
}

int
failed_layers_add (struct failed_layers *failed, int64_t layer,
                   struct status *status)
{
  const bool passed = status->error == ENOTSUP;
  int64_t *layers;

  if (layer == 0 || (!passed && !failed_is_local (status)))
    return -1;
  layers = grow (failed->layers, failed->count, sizeof *layers);
  if (layers == NULL)
    return status_no_memory (status);
  failed->layers = layers;
  layers[failed->count++] = layer;
  if (!passed && failed->failures++ == 0) {
    failed->failed = layer;
    failed->first = *status;
  }
  return 0;
}

int
failed_layers_end (struct failed_layers *failed, int result,
                   struct status *status)
{
  const size_t count = result == 0 ? failed->failures : 0;

  if (count > 0)
    *status = failed->first;
  if (count == 1)
    status_prefix (status, "layer %" PRId64, failed->failed);
  if (count > 1)
    status_prefix (status, "%zu layers, and first layer %" PRId64, count,
                   failed->failed);
  free (failed->layers);
  *failed = (struct failed_layers){ .count = 0 };
  return count > 0 ? -1 : result;
}
