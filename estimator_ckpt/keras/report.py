"""The report of loading a checkpoint into Keras, and the error where names differ."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from estimator_ckpt import errors
from estimator_ckpt.keras.forms import form_between
from estimator_ckpt.keras.iterations import Iterations
from estimator_ckpt.keras.layers import lstm_refusal
from estimator_ckpt.keras.scopes import REFUSED
from estimator_ckpt.keras.state_plan import StatePlan
from estimator_ckpt.text_table import Column, format_table

if TYPE_CHECKING:
  from estimator_ckpt.keras.source import Variable


@dataclasses.dataclass(frozen=True)
class Row:
  """One variable of the model.

  Attributes:
    variable: the variable's name in the model.
    shape: its dimensions.
    sources: the names of the checkpoint's variables that it is made of.
    how: the rule that matched these, and the conversion, in words.
    problem: the reason why the variable got no value, or "".
  """

  variable: str
  shape: tuple[int, ...]
  sources: tuple[str, ...]
  how: str
  problem: str = ""


@dataclasses.dataclass
class OptimizerReport:
  """The optimizer state that was loaded.

  Attributes:
    source: the optimizer of the checkpoint, in words.
    target: the optimizer that continues, in words.
    exactness: `"same"`, `"converted"` or `"approximate"`.
    iterations: the number of steps that the optimizer has made.
    iterations_source: the source of that number, in words.
    slots: one line for each slot: its source and the conversion.
    notes: lines that ask for attention.
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
    """Reports a plan that was carried out.

    Args:
      plan: the conversion of the state.
      iterations: the number of steps that the optimizer has made, and its source.
      notes: further lines that ask for attention.

    Returns:
      The report.
    """
    slots = []
    for move in plan.moves:
      done = f", times {move.scale:g}" if move.scale != 1.0 else ""
      done += f", plus {move.offset:g}" if move.offset else ""
      slots.append(f"{move.target} <- {move.source or 'the weights'}{done}")
    slots += [f"{name} <- zeros" for name in plan.zeros]
    unused = [f"{plan.target} does not use slot {name!r}" for name in plan.unused]
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
  """Every variable of a model and of a checkpoint, and where it came from or went.

  `str(report)` is a table of them.

  Attributes:
    checkpoint: the checkpoint's prefix.
    rows: one row for each variable of the model that exists and is not kept.
    pending: the names of layers that are not built yet, each with the scope of the
      checkpoint that it will take, or None where that is decided when it is built.
    unused: names of the checkpoint's variables that the model did not take.
    ignored: names of the checkpoint's variables that `ignore` matches.
    kept: names of the model's variables that `keep` matches.
    others: names of tensors that no model takes: the step, tables, iterators.
    optimizer: the state that was loaded; None without an optimizer, and while the
      optimizer waits for the model to be built.
    optimizer_pending: whether the optimizer waits for the model to be built.
    notes: lines that ask for attention.
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
  notes: list[str] = dataclasses.field(default_factory=list)

  @property
  def missing(self) -> list[str]:
    """Names of the model's variables that got no value."""
    return [row.variable for row in self.rows if row.problem]

  @property
  def is_complete(self) -> bool:
    """Whether every variable of the model and of the checkpoint has a counterpart."""
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
    lines += [f"note: {note}" for note in self.notes]
    return "\n".join(lines)


def _shape(shape: Sequence[int]) -> str:
  return "x".join(map(str, shape)) or "scalar"


def mismatch_message(
  report: LoadReport,
  missing: Sequence[Row],
  variables: Mapping[str, Variable],
  to_tf1: bool = False,
) -> str:
  """Words the error that variables do not match, with a name_map that would fix it.

  Args:
    report: every variable of the model and of the checkpoint.
    missing: the rows of the report that got no value.
    variables: the checkpoint's variables by name.
    to_tf1: whether the model's variables go to the names of the checkpoint, which is
      `like`. Rules then lead from the model's names, and nothing is kept.

  Returns:
    The message: the report, a name_map by shapes, and what to ignore or to keep.
  """
  count = f"{len(missing)} variables of the model and {len(report.unused)}"
  have = "of the checkpoint have no counterpart."
  if to_tf1:
    have = "of like= have no counterpart."
  lines = [f"{count} {have}", str(report)]
  lines += [
    f"{name}: {variables[name].remark}"
    for name in report.unused
    if variables[name].remark
  ]
  cells, refused = _suggest_cells(missing, report.unused, variables)
  lines += [f"{scope} cannot be taken: {reason}" for scope, reason in refused.items()]
  in_cells = (*cells, *cells.values())
  rows = [row for row in missing if not _is_of_cell(row, missing)]
  names = [name for name in report.unused if not name.startswith(in_cells)]
  suggested = {**cells, **_suggest(rows, names, variables)}
  forms = _suggest_forms(
    [row for row in rows if row.variable not in suggested.values()],
    [name for name in names if name not in suggested],
    variables,
  )
  suggested.update((old, new) for old, (new, _) in forms.items())
  if suggested:
    pairs = []
    for a, b in suggested.items():
      # A scope is no variable, and a copy has no name that a rule could say.
      name = variables[a].copy_of or a if a in variables else a
      old, new = (b, name) if to_tf1 else (name, b)
      pairs.append((old, " ".join((new, *forms.get(a, ())[1:]))))
    rules = ",\n".join(f"  {old!r}: {new!r}" for old, new in pairs)
    same = "the same shapes"
    if forms:
      same += ", or have them once they are rearranged as it says behind the name"
    lines.append(
      f"These have {same}. If they are the same variables, pass\n"
      f"name_map={{\n{rules}\n}}"
    )
  rest = [
    name
    for name in report.unused
    if name not in suggested and not name.startswith(in_cells)
  ]
  if rest and not to_tf1:
    lines.append(f"Variables that the model does not need: ignore={rest!r} (--ignore)")
  rest = [
    row.variable
    for row in missing
    if row.variable not in suggested.values() and not row.variable.startswith(in_cells)
  ]
  if rest and to_tf1:
    lines.append(f"Variables without a name in like=: ignore={rest!r} (--ignore)")
  elif rest:
    lines.append(f"Variables that keep their values: keep={rest!r} (--keep)")
  return "\n".join(lines)


def _is_of_cell(row: Row, missing: Iterable[Row]) -> bool:
  scope = row.variable.rpartition("/")[0]
  return any(other.variable == f"{scope}/recurrent_kernel" for other in missing)


def _suggest_cells(
  missing: Sequence[Row], unused: Sequence[str], variables: Mapping[str, Variable]
) -> tuple[dict[str, str], dict[str, str]]:
  """Rules for whole recurrent cells, whose weights differ in shape from TF1's.

  Returns:
    The rules, and the reasons why cells of other scopes cannot be taken.
  """
  refused: dict[str, str] = {}
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
      name[: -len(end)] + "/"
      for name in unused
      for end, columns in wanted.items()
      if name.endswith(end) and variables[name].shape == (inputs[0] + units, columns)
    ]
    for found in list(fitting):
      inside = [n[len(found) :] for n in variables if n.startswith(found)]
      reason = lstm_refusal(inside)
      if reason:
        refused[found] = reason
    fitting = [found for found in fitting if found not in {*rules, *refused}]
    if fitting:
      rules[errors.nearest(f"{scope}/", fitting) or fitting[0]] = f"{scope}/"
  return rules, refused


def _suggest(
  missing: Iterable[Row], unused: Sequence[str], variables: Mapping[str, Variable]
) -> dict[str, str]:
  """Rules for variables of equal shape; of several, the one of the nearest name."""
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


def _suggest_forms(
  missing: Sequence[Row], unused: Sequence[str], variables: Mapping[str, Variable]
) -> dict[str, tuple[str, str]]:
  """For variables that fit only one weight once they are rearranged: it, and the form."""
  fitting = [
    (name, row.variable, form)
    for row in missing
    if not row.problem.startswith(REFUSED)
    for name in unused
    for form in [form_between(variables[name].shape, row.shape)]
    if form
  ]
  olds = collections.Counter(name for name, _, _ in fitting)
  news = collections.Counter(variable for _, variable, _ in fitting)
  return {
    name: (variable, form)
    for name, variable, form in fitting
    if olds[name] == news[variable] == 1
  }
