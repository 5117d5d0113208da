"""What commands load uses these in place of the module `dataclasses`.

Importing `dataclasses` takes as long as starting Python does, and half as long again,
since it loads `inspect`, `ast` and `dis`; each class of it takes 0.5 ms more. A command
on a small checkpoint would wait longer for its values' classes than for its work.

A class made here is a dataclass to others: `dataclasses.fields`, `asdict` and `replace`
take it, and a dataclass may derive from it. A type checker takes it for one, too.
"""

from __future__ import annotations

import collections
import operator

TYPE_CHECKING = False
if TYPE_CHECKING:
  from dataclasses import dataclass as dataclass
  from dataclasses import field as field
  from dataclasses import replace as replace
  from typing import NamedTuple as NamedTuple
else:

  class _Field:
    """What `field` says about one field."""

    def __init__(self, default_factory, repr):
      self.default_factory = default_factory
      self.repr = repr

  class _Missing:
    def __repr__(self):
      return "<factory>"  # as a signature of `dataclasses` shows it

  _MISSING = _Missing()

  def field(*, default_factory=None, repr=True):
    """A field with something to say; as `dataclasses.field`.

    Args:
      default_factory: makes the default of each object.
      repr: whether the object's repr shows the field.

    Returns:
      What stands where the default of the field would.
    """
    return _Field(default_factory, repr)

  def dataclass(cls=None, *, frozen=False):
    """Gives a class what `dataclasses.dataclass` would give it.

    Args:
      cls: a class with annotations. They are its fields; none is a ClassVar.
      frozen: whether objects have a hash, and refuse assignments.

    Returns:
      The class; without one, what decorates one.
    """
    if cls is None:
      return lambda cls: dataclass(cls, frozen=frozen)
    fields = dict(getattr(cls, "_value_fields", {}))  # of the class it derives from
    for name in cls.__dict__.get("__annotations__", {}):
      fields[name] = cls.__dict__.get(name, _MISSING)
      if isinstance(fields[name], _Field):
        delattr(cls, name)
    made = {
      "_value_fields": fields,
      "__dataclass_fields__": _OfDataclass("__dataclass_fields__"),
      "__dataclass_params__": _OfDataclass("__dataclass_params__"),
      "__match_args__": tuple(fields),
      "__init__": _Late(lambda: (cls, "__init__", _init(cls, fields, frozen))),
      **_methods(fields),
    }
    if frozen:
      made.update(__setattr__=_refuse, __delattr__=_refuse)
    else:
      made["__hash__"] = None
    for name, value in made.items():
      # Python itself sets __hash__ to None where a class has its own __eq__.
      if name not in cls.__dict__ or name == "__hash__" and not cls.__dict__[name]:
        setattr(cls, name, value)
    return cls

  def replace(value, **changes):
    """A copy with some fields changed; as `dataclasses.replace`.

    Args:
      value: an object of a class made here.
      **changes: new values, by field.

    Returns:
      An object of the same class.
    """
    for name in value._value_fields:
      if name not in changes:
        changes[name] = getattr(value, name)
    return type(value)(**changes)

  class _Late:
    """A constructor that is compiled when the first object is made."""

    def __init__(self, make):
      self._make = make

    def __get__(self, value, unused_class):
      cls, name, made = self._make()
      setattr(cls, name, staticmethod(made) if name == "__new__" else made)
      return made if value is None else made.__get__(value)

  def _init(cls, fields, frozen):
    """The constructor of a class; compiled, since it has to be fast."""
    scope = {"_set": object.__setattr__, "_MISSING": _MISSING}
    parameters, lines = [], []
    for name, default in fields.items():
      value = name
      if (
        default is _MISSING
        or isinstance(default, _Field)
        and not default.default_factory
      ):
        parameters.append(name)
      elif isinstance(default, _Field):
        scope[f"_make_{name}"] = default.default_factory
        parameters.append(f"{name}=_MISSING")
        value = f"_make_{name}() if {name} is _MISSING else {name}"
      else:
        scope[f"_default_{name}"] = default
        parameters.append(f"{name}=_default_{name}")
      lines.append(
        f"  _set(self, {name!r}, {value})" if frozen else f"  self.{name} = {value}"
      )
    if hasattr(cls, "__post_init__"):
      lines.append("  self.__post_init__()")
    return _function(cls, "__init__", ["self", *parameters], "\n".join(lines), scope)

  def _function(cls, name, parameters, body, scope):
    exec(f"def {name}({', '.join(parameters)}):\n{body}", scope)
    made = scope[name]
    made.__module__, made.__qualname__ = cls.__module__, f"{cls.__qualname__}.{name}"
    made.__annotations__ = {**_annotations(cls), "return": None}
    return made

  def _annotations(cls):
    annotations = {}
    for base in reversed(cls.__mro__):
      annotations.update(base.__dict__.get("__annotations__", {}))
    return annotations

  def _methods(fields):
    """What needs no source of its own: repr, comparison, hash."""
    values = operator.attrgetter(*fields)
    shown = [n for n, f in fields.items() if not isinstance(f, _Field) or f.repr]

    def __repr__(self):
      texts = (f"{name}={getattr(self, name)!r}" for name in shown)
      return f"{type(self).__qualname__}({', '.join(texts)})"

    def __eq__(self, other):
      if type(other) is not type(self):
        return NotImplemented
      return values(self) == values(other)

    def __hash__(self):
      return hash(values(self))

    return {"__repr__": __repr__, "__eq__": __eq__, "__hash__": __hash__}

  def _refuse(self, name, *unused):
    import dataclasses

    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

  class _OfDataclass:
    """What `dataclasses` looks for in a class, made when it looks."""

    def __init__(self, name):
      self.name = name

    def __get__(self, unused, cls):
      import dataclasses

      fields = []
      annotations = _annotations(cls)
      for name, default in cls._value_fields.items():
        if isinstance(default, _Field):
          said = {"repr": default.repr}
          if default.default_factory:
            said["default_factory"] = default.default_factory
          default = dataclasses.field(**said)
        more = () if default is _MISSING else (default,)
        fields.append((name, annotations[name], *more))
      frozen = cls.__setattr__ is _refuse
      made = dataclasses.make_dataclass(cls.__name__, fields, frozen=frozen)
      return getattr(made, self.name)

  class _NamedTuples(type):
    """Makes a class of tuples with named places."""

    def __new__(cls, name, bases, body):
      fields = tuple(body.get("__annotations__", {}))
      defaults = {field: body[field] for field in fields if field in body}
      body["__slots__"] = ()
      body["_fields"] = body["__match_args__"] = fields
      for place, field in enumerate(fields):
        body[field] = _tuple_getter(place, None)
      if "__new__" not in body:
        body["__new__"] = _Late(lambda: (made, "__new__", _new(made, defaults)))
      made = super().__new__(cls, name, bases, body)
      return made

  def _new(cls, defaults):
    """The constructor of a class of tuples; compiled, since it has to be fast."""
    scope = {f"_default_{field}": value for field, value in defaults.items()}
    parameters = [
      f"{field}=_default_{field}" if field in defaults else field
      for field in cls._fields
    ]
    parts = "".join(f"{field}, " for field in cls._fields)
    body = f"  return _tuple(_cls, ({parts}))"
    scope["_tuple"] = tuple.__new__
    return _function(cls, "__new__", ["_cls", *parameters], body, scope)

  def _getter_of_37(place, unused_doc):
    return property(operator.itemgetter(place))

  _tuple_getter = getattr(collections, "_tuplegetter", _getter_of_37)

  class _Named(tuple):
    """What all of them can; as objects of `typing.NamedTuple`."""

    __slots__ = ()

    def __repr__(self):
      texts = (f"{name}={value!r}" for name, value in zip(self._fields, self))
      return f"{type(self).__name__}({', '.join(texts)})"

    def __getnewargs__(self):
      return tuple(self)

    @classmethod
    def _make(cls, values):
      made = tuple.__new__(cls, values)
      if len(made) != len(cls._fields):
        raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
      return made

    def _asdict(self):
      return dict(zip(self._fields, self))

    def _replace(self, **changes):
      values = [changes.pop(name, value) for name, value in zip(self._fields, self)]
      if changes:
        raise ValueError(f"Got unexpected field names: {list(changes)!r}")
      return tuple.__new__(type(self), values)

  NamedTuple = type.__new__(
    _NamedTuples, "NamedTuple", (_Named,), {"__slots__": (), "_fields": ()}
  )
