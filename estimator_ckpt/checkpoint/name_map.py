r"""Name maps: rules that give variables other names.

A rule is `old:new`. It is written out, stands in a file of rules, or in a dict. What
`old` may be:

*   a name, or a key of an object-based checkpoint: that tensor;
*   a scope, ending in `/`, as in an assignment map: all names in it, and `new` takes
    the scope's place;
*   a regular expression for the whole name, whose groups `new` may use: `\1`, `\g<x>`.

Of several rules that match a name, the first counts. An optimizer's slot or a moving
average that no rule matches goes with its variable, so `net/w:net/v` also makes
`net/v/Adam` of `net/w/Adam`. So does one that a regular expression matches because it
matches any name that begins with the variable's: `(.*)/(.*):\1_\2` is meant for `net/w`.
TensorFlow's own `save_counter` of an object-based checkpoint keeps its name.

Where variables become weights of Keras, or weights variables, `new` may be followed by
how the array is rearranged: `a/kernel:b/kernel reshape` gives it the shape that is
wanted, with the same bytes, and `w:dense/kernel transpose=1,0` exchanges its axes.
"""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Iterable, Mapping, Sequence

from estimator_ckpt import errors, value_classes
from estimator_ckpt.bundle import files
from estimator_ckpt.checkpoint import roles as optimizer_names

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import TypeAlias

NameMapLike: TypeAlias = (
  "NameMap | str | os.PathLike[str] | Mapping[str, str] | Sequence[str] | None"
)


# A colon between the two names: not `\:`, and not the one in `(?:...)`.
_COLON = r"(?<!\\)(?<!\(\?):"
_COMMENT = r"\s#"
_FORM = r"(?s)(.*\S)\s+(?:(reshape)|transpose=([\d,\s]*))"


@value_classes.dataclass(frozen=True)
class Rule:
  """One rule of a name map.

  Attributes:
    old: a name, a scope ending in `/`, or a regular expression.
    new: what takes its place.
    source: where the rule stands, for error messages.
    axes: the transposition of the array, for each new axis the old one; or ().
    reshape: whether the array takes the shape that is wanted.
  """

  old: str
  new: str
  source: str = "name_map"
  axes: tuple[int, ...] = ()
  reshape: bool = False

  def __str__(self) -> str:
    return f"{self.old}:{self.new}{self.form and ' '}{self.form}"

  @property
  def form(self) -> str:
    """How the array is rearranged, as a rule says it: `reshape`, `transpose=1,0`, ""."""
    if self.axes:
      return f"transpose={','.join(map(str, self.axes))}"
    return "reshape" if self.reshape else ""

  @classmethod
  def of(cls, old: str, new: str) -> Rule:
    r"""A rule whose text says so, whatever colons the names have.

    Args:
      old: a name, a scope, or a regular expression.
      new: what takes its place.

    Returns:
      The rule.

    >>> print(Rule.of("a:0", "b"))
    a\:0:b
    """
    return cls(re.sub(_COLON, r"\\:", old), new.replace(":", r"\:"))


class NameMap:
  r"""An ordered list of rules.

  >>> names = NameMap.parse(["old/:new/", r"(.*)/weights:\1/kernel"])
  >>> names.apply(["old/a/b", "x/weights", "y"])
  {'old/a/b': 'new/a/b', 'x/weights': 'x/kernel', 'y': 'y'}
  """

  def __init__(self, rules: Iterable[Rule] = ()):
    self.rules = tuple(rules)
    self._patterns: dict[Rule, re.Pattern[str]] = {}

  def __bool__(self) -> bool:
    return bool(self.rules)

  def __str__(self) -> str:
    return ", ".join(map(str, self.rules))

  @classmethod
  def parse(cls, value: NameMapLike, called: str = "name_map") -> NameMap:
    r"""Reads a name map in any of the forms a user may give.

    Args:
      value: a rule `old:new`; the path of a file of rules, one a line, with comments in
        lines that begin with `#`, or of a JSON object; several of these; a dict; or
        None. A colon within a name is written `\:`.
      called: what the user calls the map, for error messages.

    Returns:
      The name map; an empty one for None.

    Raises:
      OptionError: no rule, no such file, or a rule that cannot be meant.
    """
    if value is None:
      return cls()
    if isinstance(value, NameMap):
      return value
    if isinstance(value, Mapping):
      return cls(_rule(old, new, called) for old, new in value.items())
    if isinstance(value, (str, os.PathLike)):
      value = [os.fspath(value)]
    rules: list[Rule] = []
    for item in value:
      rules += _parse_item(os.fspath(item), called)
    return cls(rules)

  def apply(
    self,
    names: Iterable[str],
    keys: Mapping[str, str] | None = None,
    roles: Mapping[str, optimizer_names.Role] | None = None,
  ) -> dict[str, str]:
    """Gives names their new names.

    Args:
      names: all names of a checkpoint.
      keys: further keys that `old` of a rule may be, each with its name.
      roles: what the names are for, see `optimizer_names.classify`; found out where
        it is left out.

    Returns:
      For every name, in the given order, its new name.

    Raises:
      OptionError: a rule matches nothing, or two names would become one; or a rule
        rearranges arrays, which a mere renaming does not.
    """
    self.check_names_alone()
    return self.apply_with_forms(names, keys, roles)[0]

  def check_names_alone(self) -> None:
    """Checks that no rule rearranges arrays.

    Raises:
      OptionError: a rule does.
    """
    for rule in self.rules:
      if rule.form:
        raise errors.OptionError(
          f"{rule.source}: {str(rule)!r}: {rule.form} is for a conversion to or from"
          " Keras, with a model or a checkpoint of it (like=, --like), and not for new"
          " names alone"
        )

  def apply_with_forms(
    self,
    names: Iterable[str],
    keys: Mapping[str, str] | None = None,
    roles: Mapping[str, optimizer_names.Role] | None = None,
  ) -> tuple[dict[str, str], dict[str, Rule]]:
    """Gives names their new names, and says which arrays are rearranged.

    Args:
      names: all names of a checkpoint.
      keys: as of `apply`.
      roles: as of `apply`.

    Returns:
      For every name, in the given order, its new name; and by the old names the rules
      that rearrange their arrays.

    Raises:
      OptionError: a rule matches nothing, or two names would become one.
    """
    names = list(dict.fromkeys(names))
    if not self.rules:
      return {name: name for name in names}, {}
    known = set(names)
    keys = keys or {}
    mapped: dict[str, str] = {}
    matched: dict[str, Rule] = {}
    rearranged: dict[str, Rule] = {}
    for rule in self.rules:
      before = set(mapped) if rule.form else set()
      if not self._apply_rule(rule, names, known, keys, mapped, matched):
        raise _matches_nothing(rule, [*names, *keys])
      if rule.form:
        rearranged.update((name, rule) for name in mapped if name not in before)
    roles = optimizer_names.classify(names) if roles is None else roles
    for name in names:
      of = roles[name].of if name in roles else None
      if of is None or of not in mapped:
        continue
      by = matched.get(name)
      same = by is not None and by is matched.get(of) and name.startswith(f"{of}/")
      if name not in mapped or same:
        mapped[name] = _follow(name, of, mapped[of])
    result = {name: mapped.get(name, name) for name in names}
    check_distinct(result)
    return result, rearranged

  def _apply_rule(
    self,
    rule: Rule,
    names: Sequence[str],
    known: set[str],
    keys: Mapping[str, str],
    mapped: dict[str, str],
    matched: dict[str, Rule],
  ) -> bool:
    """Adds what a rule maps; says whether it matches anything, mapped before or not.

    What a regular expression maps is in `matched`, too, with the rule.
    """
    if rule.old in known or rule.old in keys:
      mapped.setdefault(keys.get(rule.old, rule.old), _literal(rule.new))
      return True
    if rule.old.endswith("/"):
      if rule.new and not rule.new.endswith("/"):
        raise errors.OptionError(
          f"{rule.source}: {str(rule)!r} puts something that is no scope in the place"
          f" of the scope {rule.old!r}; end it with '/', or leave it empty"
        )
      inside = [name for name in names if name.startswith(rule.old)]
      for name in inside:
        mapped.setdefault(name, _literal(rule.new) + name[len(rule.old) :])
      return bool(inside)
    pattern = self._pattern(rule)
    matches = [match for match in map(pattern.fullmatch, names) if match]
    for match in matches:
      try:
        new = match.expand(_literal(rule.new))
      except (re.error, IndexError) as error:
        raise errors.OptionError(
          f"{rule.source}: {rule.new!r} does not fit the regular expression"
          f" {rule.old!r}: {error}"
        ) from error
      if not new:
        raise errors.OptionError(
          f"{rule.source}: {str(rule)!r} leaves no name for {match[0]!r}"
        )
      if match[0] not in mapped:
        mapped[match[0]], matched[match[0]] = new, rule
    return bool(matches)

  def _pattern(self, rule: Rule) -> re.Pattern[str]:
    if rule not in self._patterns:
      try:
        self._patterns[rule] = re.compile(rule.old)
      except re.error as error:
        raise errors.OptionError(
          f"{rule.source}: {rule.old!r} is no variable of the checkpoint, and no"
          f" regular expression either: {error}"
        ) from error
    return self._patterns[rule]


def check_distinct(names: Mapping[str, str]) -> None:
  """Checks that no two names become one.

  Args:
    names: new names by old ones.

  Raises:
    OptionError: some do; it lists them.
  """
  olds: dict[str, list[str]] = collections.defaultdict(list)
  for old, new in names.items():
    olds[new].append(old)
  clashes = [(new, group) for new, group in olds.items() if len(group) > 1]
  if not clashes:
    return
  lines = [f"{new!r} <- {', '.join(map(repr, group))}" for new, group in clashes]
  raise errors.OptionError(
    "several variables would get one name, and all but one be lost:\n"
    + "\n".join(f"  {line}" for line in errors.shorten(lines))
    + "\nGive them different names."
  )


def _follow(name: str, of: str, new_of: str) -> str:
  """The name of a slot or moving average after its variable has got another one."""
  # Whole steps only, as `a` is in `Adam` too; and not the slot's own step, which may be
  # called as its variable. Some of Keras have the variable last: `Adam/m/dense/kernel`.
  position = f"/{name.rpartition('/')[0]}/".rfind(f"/{of}/")
  if position < 0:
    position = f"/{name}/".rfind(f"/{of}/")
  return name[:position] + new_of + name[position + len(of) :]


def _literal(new: str) -> str:
  return new.replace("\\:", ":")


def _rule(old: str, new: str, source: str) -> Rule:
  if not isinstance(old, str) or not isinstance(new, str):
    raise errors.OptionError(f"{source}: a name is text, and not {old!r}: {new!r}")
  if not old:
    raise errors.OptionError(
      f"{source}: {old}:{new} says no name to map; to put all into a scope, write"
      f" '(.*):{new}\\1'"
    )
  if not new and not old.endswith("/"):
    raise errors.OptionError(
      f"{source}: '{old}:' says no new name; to leave a variable out, use strip"
    )
  form = re.fullmatch(_FORM, new)
  if form is None:
    return Rule(old, new, source)
  axes = tuple(int(axis) for axis in (form[3] or "").split(",") if axis.strip())
  if not form[2] and (not axes or sorted(axes) != list(range(len(axes)))):
    raise errors.OptionError(
      f"{source}: {new!r}: transpose= lists every axis of the array once, as in"
      " transpose=1,0"
    )
  return Rule(old, form[1], source, axes, bool(form[2]))


def _parse_rule(text: str, source: str) -> Rule:
  parts = re.split(_COLON, text)
  if len(parts) != 2:
    raise errors.OptionError(
      f"{source}: {text!r} is no rule 'old:new'; it has {len(parts) - 1} colons"
      " (write '\\:' for one that belongs to a name)"
    )
  return _rule(parts[0].strip(), parts[1].strip(), source)


def _parse_item(item: str, called: str) -> list[Rule]:
  if files.exists(item) and not files.is_dir(item):
    return _parse_file(item)
  if not re.search(_COLON, item):
    looks_like_a_path = "/" in item or os.path.splitext(item)[1] != ""
    if looks_like_a_path and not files.exists(item):
      raise errors.OptionError(
        f"{called}: there is no file {item!r} of rules 'old:new'"
      )
    raise errors.OptionError(
      f"{called}: {item!r} is neither a rule 'old:new' nor a file of such rules"
    )
  return [_parse_rule(item, called)]


def _parse_file(path: str) -> list[Rule]:
  try:
    # Some editors put a byte order mark before the text.
    text = files.read(path).decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise errors.OptionError(f"{path}: a name map is UTF-8 text: {error}") from error
  if text.lstrip().startswith("{"):
    import json

    try:
      rules = json.loads(text)
    except ValueError as error:
      raise errors.OptionError(f"{path}: no valid JSON: {error}") from error
    return [_rule(old, new, path) for old, new in rules.items()]
  rules = []
  for number, line in enumerate(text.splitlines(), 1):
    line = line.strip()
    if line and not line.startswith("#"):
      if re.search(_COMMENT, line):
        raise errors.OptionError(
          f"{path}:{number}: {line!r} seems to end in a comment, which would become part"
          " of the name; comments have lines of their own"
        )
      rules.append(_parse_rule(line, f"{path}:{number}"))
  if not rules:
    raise errors.OptionError(f"{path}: the file has no rules 'old:new'")
  return rules


def _matches_nothing(rule: Rule, candidates: Sequence[str]) -> errors.OptionError:
  scope = f"{rule.old}/"
  if any(name.startswith(scope) for name in candidates):
    new = f"{rule.new.rstrip('/')}/"
    hint = f"; {scope!r} is a scope: for all names in it write {scope}:{new}"
  else:
    near = errors.nearest(rule.old, candidates)
    hint = f"; the nearest name is {near!r}" if near else ""
  return errors.OptionError(
    f"{rule.source}: {str(rule)!r} matches none of the {len(candidates)} names{hint}"
  )
