from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint.roles import Role, RoleKind, classify, mention_keras
from tests import golden

VARIABLE = Role(RoleKind.VARIABLE)


def _slot(of, slot, optimizer, instance=0, keras=False):
  return Role(RoleKind.SLOT, of, slot, optimizer, instance, keras)


def _golden_roles(name):
  index = Index.read(golden.path(name))
  return classify(index.keys(), {key: index.entry(key).shape for key in index.keys()})


# What a TensorFlow 1.15 optimizer wrote, with the role of each slot.
@pytest.mark.parametrize(
  "name, optimizer, slots",
  [
    ("adadelta", "Adadelta", {"": "accum", "_1": "accum_update"}),
    ("adagrad", "Adagrad", {"": "accumulator"}),
    ("adam", "Adam", {"": "m", "_1": "v"}),
    ("ftrl", "Ftrl", {"": "accum", "_1": "linear"}),
    ("momentum", "Momentum", {"": "momentum"}),
    ("nesterov", "Momentum", {"": "momentum"}),
    ("rmsprop", "RMSProp", {"": "rms", "_1": "momentum"}),
    ("rmsprop_centered", "RMSProp", {"": "rms", "_1": "mg", "_2": "momentum"}),
  ],
)
def test_every_slot_of_what_tensorflow_1_writes(name, optimizer, slots):
  roles = _golden_roles(f"tf1.15/optimizers/{name}")
  kernel = "net/dense_1/kernel"
  own = {n: role for n, role in roles.items() if role.of == kernel}
  assert own == {
    f"{kernel}/{optimizer}{number}": _slot(kernel, slot, optimizer)
    for number, slot in slots.items()
  }
  assert roles[kernel] == VARIABLE
  assert roles["global_step"].kind is RoleKind.GLOBAL_STEP
  assert {r.kind for r in roles.values()} <= {
    RoleKind.VARIABLE,
    RoleKind.SLOT,
    RoleKind.NON_SLOT,
    RoleKind.GLOBAL_STEP,
  }


def test_beta_powers_are_no_slots():
  roles = _golden_roles("tf1.15/optimizers/adam")
  assert roles["beta1_power"] == Role(RoleKind.NON_SLOT, None, "beta1_power", "Adam")
  assert roles["beta2_power"].is_optimizer_state


def test_averages_are_moving_averages_and_batch_norm_statistics_are_not():
  roles = _golden_roles("tf1.15/batch_norm")
  gamma = "net/batch_normalization/gamma"
  average = roles[f"{gamma}/ExponentialMovingAverage"]
  assert average == Role(RoleKind.MOVING_AVERAGE, gamma)
  assert roles["net/batch_normalization/moving_mean"] == VARIABLE
  assert roles["net/batch_normalization/moving_variance"] == VARIABLE


@pytest.mark.parametrize(
  "name, stem, optimizer, slot",
  [
    ("canned_dnn", "dnn/hiddenlayer_0/kernel", "t_0/Adagrad", "accumulator"),
    ("canned_linear", "linear/linear_model/word/weights", "part_0/Ftrl_1", "linear"),
  ],
)
def test_slots_of_canned_estimators(name, stem, optimizer, slot):
  role = _golden_roles(f"tf1.15/{name}")[f"{stem}/{optimizer}"]
  assert (role.of, role.slot) == (stem, slot)


def test_tables_and_iterators_are_other_state():
  tables = _golden_roles("tf1.15/tables")
  assert tables["words-keys"].kind is RoleKind.OTHER
  assert tables["words-values"].kind is RoleKind.OTHER
  iterator = _golden_roles("tf1.15/iterator")["OneShotIterator:0-state"]
  assert iterator.kind is RoleKind.OTHER


def test_an_optimizer_used_in_a_variable_scope():
  names = ["net/w", "train/net/w/Adam", "train/net/w/Adam_1", "train/beta1_power"]
  roles = classify(names)
  assert roles["train/net/w/Adam_1"] == _slot("net/w", "v", "Adam")
  assert roles["train/beta1_power"].kind is RoleKind.NON_SLOT


def test_two_optimizers_of_one_kind_on_one_variable():
  roles = classify(["w", *(f"w/Adam{n}" for n in ("", "_1", "_2", "_3"))])
  assert [(r.slot, r.instance) for r in roles.values() if r.of] == [
    ("m", 0),
    ("v", 0),
    ("m", 1),
    ("v", 1),
  ]


@pytest.mark.parametrize(
  "slots",
  [
    ["w/Adam_1"],
    ["w/Adam", "w/Adam_1", "w/Adam_2"],
    [f"w/RMSProp{n}" for n in ("", "_1", "_2", "_3", "_4", "_5")],
  ],
  ids=["first missing", "one and a half", "centered twice or plain three times"],
)
def test_which_slot_it_is_is_not_guessed(slots):
  roles = classify(["w", *slots])
  assert all(roles[s].kind is RoleKind.SLOT and roles[s].slot is None for s in slots)


def test_berts_optimizer():
  roles = classify(["bert/w", "bert/w/adam_m", "bert/w/adam_v"])
  assert roles["bert/w/adam_v"] == _slot("bert/w", "v", "AdamWeightDecay")


@pytest.mark.parametrize(
  "name, expected",
  [
    ("Adam/dense/kernel/m", _slot("dense/kernel", "m", "Adam", keras=True)),
    ("training/Adam/dense/kernel/vhat", _slot("dense/kernel", "vhat", "Adam", 0, True)),
    ("Adam/v/dense/kernel", _slot("dense/kernel", "v", "Adam", keras=True)),
    ("RMSprop_1/dense/kernel/rms", _slot("dense/kernel", "rms", "RMSprop", 1, True)),
    ("SGD/momentum", Role(RoleKind.NON_SLOT, None, "momentum", "SGD", keras=True)),
    ("Adam/iter", Role(RoleKind.NON_SLOT, None, "iter", "Adam", keras=True)),
    ("Adam/dense/kernel/other", VARIABLE),
    ("Adam/dense_2/kernel/m", VARIABLE),
  ],
)
def test_names_that_keras_2_gives(name, expected):
  assert classify(["dense/kernel", name])[name] == expected


@pytest.mark.parametrize(
  "names, shapes, name, unclear",
  [
    (["v/Adam"], {}, "v/Adam", "there is no variable 'v'"),
    (
      ["w", "w/Momentum"],
      {"w": (2, 3), "w/Momentum": (3,)},
      "w/Momentum",
      "it has the shape [3], and 'w' has [2, 3]",
    ),
    (
      ["beta1_power"],
      {"beta1_power": (2,)},
      "beta1_power",
      "it has the shape [2], not that of a scalar",
    ),
    (
      ["w", "w/Mine"],
      {},
      "w/Mine",
      (
        "it stands below the variable 'w', as a slot would of an optimizer, or a moving"
        " average, that is called 'Mine'"
      ),
    ),
    (
      ["w/ExponentialMovingAverage"],
      {},
      "w/ExponentialMovingAverage",
      "there is no variable 'w'",
    ),
  ],
)
def test_what_is_not_certain_stays_a_variable_and_says_why(
  names, shapes, name, unclear
):
  role = classify(names, shapes)[name]
  assert (role.kind, role.unclear) == (RoleKind.VARIABLE, unclear)


def test_what_corrects_the_start_of_an_average_goes_with_it():
  names = ["w", "w/ExponentialMovingAverage", "w/ExponentialMovingAverage/biased"]
  assert classify(names)[names[2]] == Role(RoleKind.MOVING_AVERAGE, "w")
  # Batch normalization's own statistics may have variables of these names too.
  names = ["bn/moving_mean", "bn/moving_mean/biased", "bn/moving_mean/local_step"]
  assert set(classify(names).values()) == {VARIABLE}


_PARTS = st.sampled_from(
  ["a", "w", "Adam", "Adam_1", "Momentum", "part_0", "m", "beta1_power", "", "iter"]
)
_NAMES = st.lists(st.lists(_PARTS, min_size=1, max_size=4).map("/".join), max_size=12)


@given(_NAMES)
def test_every_name_gets_a_role_and_a_slot_has_a_variable_that_is_there(names):
  roles = classify(names)
  assert list(roles) == list(dict.fromkeys(names))
  for role in roles.values():
    if role.kind in (RoleKind.SLOT, RoleKind.MOVING_AVERAGE):
      assert role.of in names
    assert not (role.unclear and role.kind is not RoleKind.VARIABLE)


@given(_NAMES)
def test_what_mentions_no_keras_has_no_keras_roles(names):
  if not mention_keras(names):
    assert not any(role.keras for role in classify(names).values())
