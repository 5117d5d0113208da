"""What a function returned, kept for the next time."""

from __future__ import annotations

from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any


class Memo(dict):  # type: ignore[type-arg]
  """What a function returns, by its argument: for `map`, faster than a cache is.

  >>> sizes = Memo(len)
  >>> list(map(sizes.__getitem__, ["ab", "c", "ab"])), len(sizes)
  ([2, 1, 2], 2)
  """

  def __init__(self, function: Callable[[Any], Any]):
    """Keeps nothing yet.

    Args:
      function: called once for each argument.
    """
    super().__init__()
    self._function = function

  def __missing__(self, argument: Any) -> Any:
    self[argument] = value = self._function(argument)
    return value
