"""Value classes do what those of `dataclasses` and `typing` do."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import typing

import pytest

from estimator_ckpt import value_classes


@dataclasses.dataclass(frozen=True)
class _Stock:
  a: int
  b: tuple = (1,)
  c: dict = dataclasses.field(default_factory=dict, repr=False)

  def __post_init__(self):
    if self.a == 13:
      raise ValueError("13")

  @property
  def double(self) -> int:
    return 2 * self.a


@value_classes.dataclass(frozen=True)
class _Own:
  a: int
  b: tuple = (1,)
  c: dict = value_classes.field(default_factory=dict, repr=False)

  def __post_init__(self):
    if self.a == 13:
      raise ValueError("13")

  @property
  def double(self) -> int:
    return 2 * self.a


@value_classes.dataclass(frozen=True)
class _Plain:
  a: int
  b: str = ""


@value_classes.dataclass
class _Changing:
  a: int
  b: list = value_classes.field(default_factory=list)


class _StockPair(typing.NamedTuple):
  a: int
  b: str = "x"

  def text(self) -> str:
    return f"{self.a}{self.b}"


class _OwnPair(value_classes.NamedTuple):
  a: int
  b: str = "x"

  def text(self) -> str:
    return f"{self.a}{self.b}"


def _text(value) -> str:
  return repr(value).replace("Own", "Stock")


def test_objects_are_those_of_a_dataclass():
  own, stock = _Own(2, c={"k": 1}), _Stock(2, c={"k": 1})
  assert _text(own) == repr(stock)
  assert own.double == stock.double == 4
  assert own == _Own(2, (1,), {"k": 1}) != _Own(3)
  assert own != stock
  assert _Own(1).c is not _Own(1).c
  assert str(inspect.signature(_Own)) == str(inspect.signature(_Stock))
  assert hash(_Plain(1)) == hash(_Plain(1))
  for value in (own, _Plain(1, "b"), _Changing(1, [2])):
    assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value


def test_the_module_dataclasses_takes_them():
  own, stock = _Own(2, c={"k": 1}), _Stock(2, c={"k": 1})
  assert dataclasses.is_dataclass(_Own) and dataclasses.is_dataclass(own)
  assert dataclasses.asdict(own) == dataclasses.asdict(stock)
  assert dataclasses.astuple(own) == dataclasses.astuple(stock)
  assert [f.name for f in dataclasses.fields(own)] == ["a", "b", "c"]
  assert dataclasses.replace(own, a=5) == value_classes.replace(own, a=5)
  assert value_classes.replace(own, a=5) == _Own(5, c={"k": 1})

  @dataclasses.dataclass(frozen=True)
  class Derived(_Own):
    d: int = 4

  assert dataclasses.astuple(Derived(1)) == (1, (1,), {}, 4)


@pytest.mark.parametrize("cls", [_Own, _Stock, _OwnPair, _StockPair])
def test_wrong_arguments_fail(cls):
  for call in (lambda: cls(), lambda: cls(1, e=2), lambda: cls(1, 2, 3, 4)):
    with pytest.raises(TypeError):
      call()


def test_objects_that_are_frozen_stay_as_they_are():
  for cls in (_Own, _Stock):
    with pytest.raises(ValueError, match="13"):
      cls(13)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to"):
      cls(1).a = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
      del cls(1).a
  with pytest.raises(TypeError, match="unhashable"):
    hash(_Changing(1))
  changing = _Changing(1)
  changing.a = 2
  assert changing == _Changing(2)


def test_tuples_are_those_of_typing():
  own, stock = _OwnPair(1), _StockPair(1)
  assert own == stock == (1, "x") == _OwnPair(b="x", a=1)
  assert hash(own) == hash(stock)
  assert _text(own) == repr(stock)
  assert (own.a, own.b, own.text()) == (stock.a, stock.b, stock.text())
  assert own._replace(b="y") == stock._replace(b="y")
  assert type(own._replace(b="y")) is _OwnPair
  assert own._asdict() == stock._asdict()
  assert _OwnPair._make(iter([1, "x"])) == _StockPair._make(iter([1, "x"])) == own
  assert type(_OwnPair._make([1, "x"])) is _OwnPair
  assert own._fields == stock._fields
  assert not hasattr(own, "__dict__")
  assert pickle.loads(pickle.dumps(own)) == copy.deepcopy(own) == own
  assert type(pickle.loads(pickle.dumps(own))) is _OwnPair
  for value in (own, stock):
    with pytest.raises(AttributeError):
      value.a = 2
    with pytest.raises(ValueError, match="unexpected field names"):
      value._replace(c=1)
    with pytest.raises(TypeError, match="Expected 2 arguments, got 1"):
      value._make([1])
