"""What was loaded into a Keras model, variable by variable."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from estimator_ckpt import errors
from estimator_ckpt.keras.optimizers.iterations import Iterations
from estimator_ckpt.keras.optimizers.state_plan import StatePlan
from estimator_ckpt.keras.scopes import REFUSED
from estimator_ckpt.text_table import Column, format_table

if TYPE_CHECKING:
  from estimator_ckpt.keras.source import Variable


@dataclasses.dataclass(frozen=True)
class Row:
  """One variable of the model or the optimizer.

  Attributes:
    variable: its name in the model.
    shape: its shape.
    sources: the checkpoint's variables that it is made of.
    how: how they were found, and what was done with them.
    problem: why it got no value, or "".
  """

  variable: str
  shape: tuple[int, ...]
  sources: tuple[str, ...]
  how: str
  problem: str = ""


@dataclasses.dataclass
class OptimizerReport:
  """What the optimizer goes on with.

  Attributes:
    source: whose state it was.
    target: whose it is now.
    exactness: `"same"`, `"converted"` or `"approximate"`.
    iterations: the number of steps made.
    iterations_source: what said so.
    slots: one line for each slot: where it comes from and what was done.
    notes: what asks for attention.
  """

  source: str
  target: str
  exactness: str
  iterations: int
  iterations_source: str
  slots: list[str]
  notes: list[str]

  @classmethod
  def of_plan(
    cls, plan: StatePlan, iterations: Iterations, notes: Sequence[str] = ()
  ) -> OptimizerReport:
    """The report of a plan that was carried out.

    Args:
      plan: the plan.
      iterations: the number of steps.
      notes: what else asks for attention.

    Returns:
      The report.
    """
    slots = []
    for move in plan.moves:
      done = f", times {move.scale:g}" if move.scale != 1.0 else ""
      done += f", plus {move.offset:g}" if move.offset else ""
      slots.append(f"{move.target} <- {move.source or 'the weights'}{done}")
    slots += [f"{name} <- zeros" for name in plan.zeros]
    unused = [f"the slot {name!r} has no part in {plan.target}" for name in plan.unused]
    return cls(
      str(plan.source),
      str(plan.target),
      plan.exactness.value,
      iterations.value,
      iterations.source + (f"; {iterations.note}" if iterations.note else ""),
      slots,
      [*plan.reasons, *unused, *notes],
    )

  def __str__(self) -> str:
    lines = [
      f"{self.source} -> {self.target}: {self.exactness}",
      f"  iterations {self.iterations} ({self.iterations_source})",
      *(f"  {line}" for line in self.slots),
      *(f"  note: {note}" for note in self.notes),
    ]
    return "\n".join(lines)


@dataclasses.dataclass
class LoadReport:
  """Every variable of a model and of a checkpoint, and what became of it.

  `str(report)` is the table of them all.

  Attributes:
    checkpoint: the checkpoint's path.
    rows: the model's variables that exist.
    pending: the layers that are not built yet, each with the scope of the checkpoint
      that it takes when it is, or None where that is decided then.
    unused: the checkpoint's variables that nothing took.
    ignored: the checkpoint's variables that nothing was to take.
    kept: the model's variables that were to keep their values.
    others: what is nothing to a model: the step, tables, moving averages.
    optimizer: what the optimizer goes on with; None where none was given, and as long
      as it waits for the model.
    optimizer_pending: whether it waits.
  """

  checkpoint: str
  rows: list[Row] = dataclasses.field(default_factory=list)
  pending: dict[str, str | None] = dataclasses.field(default_factory=dict)
  unused: list[str] = dataclasses.field(default_factory=list)
  ignored: list[str] = dataclasses.field(default_factory=list)
  kept: list[str] = dataclasses.field(default_factory=list)
  others: list[str] = dataclasses.field(default_factory=list)
  optimizer: OptimizerReport | None = None
  optimizer_pending: bool = False

  @property
  def missing(self) -> list[str]:
    """The model's variables that got no value."""
    return [row.variable for row in self.rows if row.problem]

  @property
  def is_complete(self) -> bool:
    """Whether every variable of the model and of the checkpoint found its other."""
    waits = any(scope is not None for scope in self.pending.values())
    return not (self.missing or self.unused or waits or self.optimizer_pending)

  def __str__(self) -> str:
    lines = [f"{self.checkpoint}: {len(self.rows) - len(self.missing)} variables"]
    header = ("model", "shape", "checkpoint", "matched by")
    cells = [
      (
        row.variable,
        _shape(row.shape),
        " + ".join(row.sources) or "-",
        row.problem or row.how,
      )
      for row in self.rows
    ]
    columns = [Column(title) for title in header]
    lines += [f"  {line}" for line in format_table(columns, cells)]
    for layer, scope in self.pending.items():
      source = f"takes {scope}" if scope is not None else "is matched"
      lines.append(f"not built yet: {layer} ({source} when it is)")
    lines += [f"in the checkpoint only: {name}" for name in self.unused]
    lines += [f"ignored as asked: {name}" for name in self.ignored]
    lines += [f"kept as asked: {name}" for name in self.kept]
    if self.others:
      lines.append("not for a model: " + ", ".join(self.others))
    if self.optimizer_pending:
      lines.append("optimizer: gets its state when it makes its variables")
    if self.optimizer is not None:
      lines.append(f"optimizer: {self.optimizer}")
    return "\n".join(lines)


def _shape(shape: Sequence[int]) -> str:
  return "x".join(map(str, shape)) or "scalar"


def mismatch_message(
  report: LoadReport, missing: Sequence[Row], variables: Mapping[str, Variable]
) -> str:
  """The message of an error: what did not fit, and the name_map that would fix it.

  Args:
    report: the report of everything.
    missing: the rows of it without value.
    variables: the checkpoint's variables by name.

  Returns:
    The message.
  """
  count = f"{len(missing)} variables of the model and {len(report.unused)}"
  lines = [f"{count} of the checkpoint did not find their other.", str(report)]
  lines += [
    f"{name}: {variables[name].remark}"
    for name in report.unused
    if variables[name].remark
  ]
  cells = _suggest_cells(missing, report.unused, variables)
  in_cells = (*cells, *cells.values())
  suggested = {
    **cells,
    **_suggest(
      [row for row in missing if not _is_of_cell(row, missing)],
      [name for name in report.unused if not name.startswith(in_cells)],
      variables,
    ),
  }
  if suggested:
    rules = ",\n".join(f"  {old!r}: {new!r}" for old, new in suggested.items())
    lines.append(
      f"By their shapes these fit; if they are meant, pass\nname_map={{\n{rules}\n}}"
    )
  rest = [
    name
    for name in report.unused
    if name not in suggested and not name.startswith(in_cells)
  ]
  if rest:
    lines.append(f"What the model has no use for goes into ignore={rest!r} (--ignore)")
  rest = [
    row.variable
    for row in missing
    if row.variable not in suggested.values() and not row.variable.startswith(in_cells)
  ]
  if rest:
    lines.append(f"What is to stay as it is goes into keep={rest!r} (--keep)")
  return "\n".join(lines)


def _is_of_cell(row: Row, missing: Iterable[Row]) -> bool:
  scope = row.variable.rpartition("/")[0]
  return any(other.variable == f"{scope}/recurrent_kernel" for other in missing)


def _suggest_cells(
  missing: Sequence[Row], unused: Sequence[str], variables: Mapping[str, Variable]
) -> dict[str, str]:
  """Rules for whole recurrent cells, whose weights are not those of TF1 one by one."""
  shapes = {row.variable: row.shape for row in missing}
  rules: dict[str, str] = {}
  for row in missing:
    scope, _, leaf = row.variable.rpartition("/")
    inputs = shapes.get(f"{scope}/kernel")
    if leaf != "recurrent_kernel" or not inputs or row.problem.startswith(REFUSED):
      continue
    units, width = row.shape
    wanted = {"/kernel": width, "/gates/kernel": 2 * units}
    fitting = [
      name.removesuffix(end) + "/"
      for name in unused
      for end, columns in wanted.items()
      if name.endswith(end) and variables[name].shape == (inputs[0] + units, columns)
    ]
    fitting = [found for found in fitting if found not in rules]
    if fitting:
      rules[errors.nearest(f"{scope}/", fitting) or fitting[0]] = f"{scope}/"
  return rules


def _suggest(
  missing: Iterable[Row], unused: Sequence[str], variables: Mapping[str, Variable]
) -> dict[str, str]:
  """Rules for the variables that have the shapes wanted, the nearest names first."""
  rules: dict[str, str] = {}
  for row in missing:
    if row.problem.startswith(REFUSED):
      continue
    fitting = [
      name
      for name in unused
      if name not in rules and variables[name].shape == row.shape
    ]
    if fitting:
      rules[errors.nearest(row.variable, fitting) or fitting[0]] = row.variable
  return rules
