"""Patterns that name variables: a name, a scope, or a regular expression."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from estimator_ckpt import errors


class NamePattern:
  """A name, a scope ending in `/`, or a regular expression for a whole name.

  Args:
    text: the pattern.
    argument: what it was given as.

  Raises:
    OptionError: it is neither.
  """

  def __init__(self, text: str, argument: str):
    self._text = text
    self._argument = argument
    self._used = False
    try:
      self._pattern = re.compile(text)
    except re.error as e:
      raise errors.OptionError(
        f"{argument}={text!r} is no regular expression: {e}"
      ) from e

  def matches(self, name: str) -> bool:
    """Whether a name is meant."""
    found = name == self._text or (
      name.startswith(self._text)
      if self._text.endswith("/")
      else self._pattern.fullmatch(name) is not None
    )
    self._used = self._used or found
    return found

  def check_used(self, names: Iterable[str]) -> None:
    """Raises if it has matched nothing.

    Args:
      names: what it could have matched.

    Raises:
      OptionError: it matches nothing; the message has the nearest name.
    """
    if not self._used:
      near = errors.nearest(self._text, names)
      hint = f" The nearest name is {near!r}." if near else ""
      raise errors.OptionError(
        f"{self._argument}={self._text!r} matches nothing.{hint}"
      )


def matches_any(name: str, patterns: Sequence[NamePattern]) -> bool:
  """Whether a name is meant by one of several patterns."""
  # All are asked, so that each knows whether it matches something.
  return bool([pattern for pattern in patterns if pattern.matches(name)])
