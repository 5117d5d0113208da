"""The data of a page about a model_dir: its checkpoints on a time line, and norms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from estimator_ckpt.files.checkpoints import CheckpointList
from estimator_ckpt.files.page.checkpoint_section import plain


def directory_section(
  found: CheckpointList,
  now: float,
  norms: Sequence[Mapping[str, float | None]] | None = None,
) -> dict[str, Any]:
  """The data about a directory of checkpoints.

  Args:
    found: what the directory has.
    now: when the page is made, in seconds since 1970.
    norms: for each checkpoint the norm of each tensor, by name; None where nobody
      looked.

  Returns:
    Lists, dicts, texts and finite numbers: what `ls --json` prints, the time, and norms.
  """
  section = found.as_dict()
  section["now"] = now
  if norms is not None:
    names = sorted({name for each in norms for name in each})
    section["norms"] = {
      "name": names,
      "norm": [[plain(each.get(name)) for each in norms] for name in names],
    }
  return section
