"""Work on many checkpoints: several at once, all of them, whatever fails.

Threads do it, since most of the time goes into files and object stores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from estimator_ckpt import value_classes
from estimator_ckpt.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

# How many are worked on at once. Each may hold an index of some 100 MB.
AT_ONCE = 4


@value_classes.dataclass(frozen=True)
class Outcome:
  """What became of one.

  Attributes:
    item: what was worked on.
    result: what the work returned; None where it failed.
    error: why it failed; None where it did not.
  """

  item: Any
  result: Any = None
  error: CheckpointError | None = None


def work_on(
  items: Sequence[Any],
  work: Callable[[Any, Callable[[int, int], None]], Any],
  progress: Callable[[int, int], None] | None = None,
) -> list[Outcome]:
  """Works on each item, several at once. One that fails does not stop the others.

  Args:
    items: what to work on.
    work: is called with an item, and with a function that takes the bytes that are done
      of the item, and all its bytes.
    progress: is called with the bytes that are done of all items, and all bytes that
      are known of so far; by one thread at a time.

  Returns:
    An outcome for each item, in the same order.

  Raises:
    KeyboardInterrupt: no further item is begun then.
  """
  from concurrent import futures

  lock = threading.Lock()
  done: dict[int, tuple[int, int]] = {}

  def one(number: int) -> Outcome:
    def tell(part: int, whole: int) -> None:
      with lock:
        done[number] = (part, whole)
        if progress is not None:
          progress(sum(p for p, _ in done.values()), sum(w for _, w in done.values()))

    try:
      return Outcome(items[number], work(items[number], tell))
    except CheckpointError as error:
      return Outcome(items[number], error=error)

  with futures.ThreadPoolExecutor(AT_ONCE) as pool:
    tasks = [pool.submit(one, number) for number in range(len(items))]
    try:
      return [task.result() for task in tasks]
    except BaseException:
      for task in tasks:
        task.cancel()
      raise
