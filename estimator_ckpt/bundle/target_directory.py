"""A directory that something is about to be written to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from estimator_ckpt.bundle import files, locks
from estimator_ckpt.errors import CheckpointExistsError, CheckpointNotFoundError

# How often a directory may be removed by others while it is made here.
_ATTEMPTS = 100


class TargetDirectory:
  """Makes a directory where there is none, and removes what it made if that stays empty.

  Several processes may write to one directory. Each looks at what is there, and says
  what it will write, while no other does: in its `turn`.

  Args:
    path: the directory; "" for the working directory.
  """

  def __init__(self, path: str):
    self._path = path
    self._made: list[str] = []

  @contextlib.contextmanager
  def turn(self) -> Iterator[bool]:
    """Makes the directory, and waits until this process is alone in its turn.

    Yields:
      Whether it is; False where the file system cannot tell.

    Raises:
      CheckpointExistsError: another process does not end its turn.
      CheckpointIOError: the file system refused.
    """
    if not files.is_local(self._path):
      if self._path:
        files.mkdirs(self._path)
      yield False
      return
    with contextlib.ExitStack() as stack:
      yield self._enter(stack)

  def _enter(self, stack: contextlib.ExitStack) -> bool:
    path = files.local_path(self._path) or "."
    for _ in range(_ATTEMPTS):
      with contextlib.suppress(FileNotFoundError):
        # Another process removes a directory that it made if it fails.
        self._made += files.mkdirs(path)
        return stack.enter_context(locks.turn(path))
    raise CheckpointNotFoundError(f"{path}: the directory is removed again and again")

  def remove_made(self) -> None:
    """Removes the directories that were made here, as far as nothing is in them."""
    while self._made:
      made = self._made.pop()
      with contextlib.suppress(FileNotFoundError, CheckpointExistsError):
        with locks.turn(made):
          files.remove_empty_dir(made)
