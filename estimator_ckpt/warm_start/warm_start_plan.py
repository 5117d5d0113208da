"""Which variables a warm start starts, from which tensors of a checkpoint, and why.

The plan is made from the names, shapes and dtypes of both sides before anything is read
or assigned. It needs no TensorFlow, so it can be printed and tested as a value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from estimator_ckpt import errors
from estimator_ckpt.html_table import html_table
from estimator_ckpt.older_pythons import cached_property
from estimator_ckpt.warm_start import assignment_map as assignment_map_lib
from estimator_ckpt.warm_start import warm_start_report
from estimator_ckpt.warm_start.assignment_map import Entry
from estimator_ckpt.warm_start.matches import Matches
from estimator_ckpt.warm_start.source_tensors import SourceTensors
from estimator_ckpt.warm_start.suggestion import Wanted, suggest

# How many entries of a suggestion are tried one by one, and how many names are shown.
_TRIED = 20


@dataclasses.dataclass(frozen=True)
class WarmStartPlan(Matches):
  """What a warm start will do.

  Attributes:
    strict: whether a problem is an error.
    source: what the checkpoint has.
    entries: those of the assignment map that start something.
    with_map: makes another plan, with another assignment map.
  """

  strict: bool
  source: SourceTensors = dataclasses.field(repr=False, compare=False)
  entries: tuple[Entry, ...] = dataclasses.field(repr=False, compare=False)
  with_map: Callable[[Sequence[Entry]], WarmStartPlan] = dataclasses.field(
    repr=False, compare=False
  )

  @cached_property
  def suggested_map(self) -> tuple[Entry, ...]:
    """An assignment map that starts more than this plan, and all that it starts.

    It is the largest that works, and empty where none is found. Every `assignment_map=`
    takes it.
    """
    found = self._found_entries()
    if not found or self._is_better((*self.entries, *found)):
      return (*self.entries, *found) if found else ()
    # All entries together do not work. Each is tried alone.
    kept = list(self.entries)
    for entry in found[:_TRIED]:
      if self._is_better((*kept, entry)):
        kept.append(entry)
    return tuple(kept) if len(kept) > len(self.entries) else ()

  @cached_property
  def stays_new(self) -> tuple[str, ...]:
    """Variables that a map could start, and the suggested one does not."""
    left = self.with_map(self.suggested_map).left_in_graph
    return tuple(item.name for item in left if item.is_open)

  def _is_better(self, entries: Sequence[Entry]) -> bool:
    plan = self.with_map(entries)
    return len(plan.started) > len(self.started) and (
      len(plan.problems) <= len(self.problems)
    )

  def _found_entries(self) -> list[Entry]:
    used = {item.source.location for item in self.started}
    free = [
      tensor
      for tensor in self.source.tensors
      if tensor.is_variable
      and tensor.location not in used
      and not tensor.role.is_optimizer_state
    ]
    names = {tensor.name for tensor in free}
    in_question = {problem.name for problem in self.problems}
    found = []
    wanted = []
    for item in self.left_in_graph:
      if item.name in names and item.name in in_question:
        # An entry for a scope kept the variable from the tensor of its own name.
        found.append(Entry(item.name, item.name))
      elif item.is_open:
        wanted.append(Wanted(item.name, item.dtype, item.shape))
    others = [item.target.name for item in self.started if item.source.role.of is None]
    suggested = suggest(wanted, free, others)
    return [*found, *(Entry(old, new) for old, new in suggested.items())]

  def raise_for_problems(self) -> None:
    """Raises if the warm start is strict, and there is a problem.

    Raises:
      VariableMismatchError: its message lists every problem.
    """
    if self.strict and self.problems:
      raise errors.VariableMismatchError(self.message())

  def message(self) -> str:
    """The problems, and what to do about them."""
    total = len(self.started) + len(self.left_in_graph)
    count = len(self.problems)
    lines = [
      (
        f"The warm start from {self.prefix} does not fit this graph: "
        f"{count} {'problem' if count == 1 else 'problems'}; "
        f"{len(self.started)} of {total} variables could be started."
      )
    ]
    lines += [f"  {problem}" for problem in self.problems]
    if self.suggested_map:
      fixed = count - len(self.with_map(self.suggested_map).problems)
      if fixed > 0:
        what = "it" if fixed == count else f"{fixed} of the {count} problems"
        lines.append(f"A map that would fix {what}: {self.suggestion()}")
        flags = assignment_map_lib.as_flags(self.suggested_map)
        lines.append(f"The same as flags: {flags}")
        if self.stays_new:
          lines.append(self.leaves_new())
    lines.append(
      "Nothing has been started. To start what can be and go on, pass strict=False; "
      "print(warm_start.plan(variables)) shows everything."
    )
    return "\n".join(lines)

  def leaves_new(self) -> str:
    """A sentence on the variables that stay new with the suggested map."""
    return f"It leaves new: {', '.join(errors.shorten(self.stays_new))}"

  def suggestion(self) -> str:
    """The suggested map as an argument in Python."""
    return f"assignment_map={assignment_map_lib.as_code(self.suggested_map)}"

  def __str__(self) -> str:
    """The whole plan as text: its sections, and a map that would start more."""
    lines = warm_start_report.table(self)
    if self.suggested_map:
      lines.append(f"A map that would start more: {self.suggestion()}")
      if self.stays_new:
        lines.append(self.leaves_new())
      lines.append("")
    return "\n".join(lines[:-1])

  def _repr_html_(self) -> str:
    tables = warm_start_report.html_tables(self)
    if self.suggested_map:
      tables += html_table(f"A map that would start more: {self.suggestion()}", [], [])
    return tables
