"""Optimizers of published TF1 code, written again by their formulas.

AdamWeightDecayOptimizer is that of BERT's `optimization.py`, LAMBOptimizer that of
ALBERT's `lamb_optimizer.py`. The others are of `tf.contrib.opt`, which no TensorFlow 2
has. Their names of slots, and the order of their updates, are those of the originals.
"""

from __future__ import annotations

import re

import tensorflow as tf

tf1 = tf.compat.v1


class AdamWeightDecayOptimizer(tf1.train.Optimizer):
  """Adam with decoupled weight decay, and without correction for the start at zero."""

  _name_of_slots = "adam"

  def __init__(
    self,
    learning_rate,
    weight_decay_rate=0.0,
    beta1=0.9,
    beta2=0.999,
    epsilon=1e-6,
    exclude_from_weight_decay=None,
    clip_norm=None,
  ):
    super().__init__(False, type(self).__name__)
    self._rate = learning_rate
    self._decay = weight_decay_rate
    self._betas = beta1, beta2
    self._epsilon = epsilon
    self._excluded = exclude_from_weight_decay or []
    self._clip_norm = clip_norm

  def apply_gradients(self, grads_and_vars, global_step=None, name=None):
    """Updates weights as BERT's `create_optimizer` and `apply_gradients` do."""
    grads, weights = zip(*grads_and_vars)
    if self._clip_norm:
      grads, _ = tf.clip_by_global_norm(grads, self._clip_norm)
    updates = []
    for grad, param in zip(grads, weights):
      m, v = (
        tf1.get_variable(
          f"{param.op.name}/{self._name_of_slots}_{slot}",
          shape=param.shape.as_list(),
          trainable=False,
          initializer=tf1.zeros_initializer(),
          use_resource=True,
        )
        for slot in "mv"
      )
      next_m = self._betas[0] * m + (1.0 - self._betas[0]) * grad
      next_v = self._betas[1] * v + (1.0 - self._betas[1]) * tf.square(grad)
      update = next_m / (tf.sqrt(next_v) + self._epsilon)
      excluded = any(re.search(text, param.op.name) for text in self._excluded)
      if self._decay and not excluded:
        update += self._decay * param
      update *= self._rate * self._ratio(param, update, excluded)
      updates += [param.assign(param - update), m.assign(next_m), v.assign(next_v)]
    if global_step is not None:
      updates.append(tf1.assign_add(global_step, 1))
    return tf.group(*updates, name=name)

  def _ratio(self, param, update, excluded):
    del param, update, excluded
    return 1.0


class LAMBOptimizer(AdamWeightDecayOptimizer):
  """AdamWeightDecayOptimizer, with steps that are scaled by norms."""

  _name_of_slots = "lamb"

  def _ratio(self, param, update, excluded):
    if excluded:
      return 1.0
    w, g = tf.norm(param), tf.norm(update)
    return tf.where(w > 0, tf.where(g > 0, w / g, 1.0), 1.0)


class AdamWOptimizer(tf1.train.AdamOptimizer):
  """Adam that decays weights first, by `weight_decay` itself."""

  def __init__(self, learning_rate, weight_decay, **options):
    super().__init__(learning_rate, name="AdamW", **options)
    self._decay = weight_decay

  def apply_gradients(self, grads_and_vars, global_step=None, name=None):
    """Decays all weights, then makes Adam's step."""
    weights = [weight for _, weight in grads_and_vars]
    decayed = [weight.assign_sub(self._decay * weight) for weight in weights]
    with tf.control_dependencies(decayed):
      return super().apply_gradients(grads_and_vars, global_step, name)


class AdaMaxOptimizer(tf1.train.AdamOptimizer):
  """Adam with the infinity norm, by the kernel that contrib's uses."""

  def __init__(self, learning_rate, **options):
    super().__init__(learning_rate, name="AdaMax", **options)

  def _get_beta_accumulators(self):
    graph = None if tf.executing_eagerly() else tf1.get_default_graph()
    return self._get_non_slot_variable("beta1_power", graph=graph), None

  def _create_slots(self, var_list):
    first = min(var_list, key=lambda v: v.name)
    self._create_non_slot_variable(
      initial_value=self._beta1, name="beta1_power", colocate_with=first
    )
    for v in var_list:
      self._zeros_slot(v, "m", self._name)
      self._zeros_slot(v, "v", self._name)

  def _resource_apply_dense(self, grad, var):
    power, _ = self._get_beta_accumulators()
    return tf.raw_ops.ResourceApplyAdaMax(
      var=var.handle,
      m=self.get_slot(var, "m").handle,
      v=self.get_slot(var, "v").handle,
      beta1_power=tf.cast(power, grad.dtype),
      lr=tf.cast(self._lr_t, grad.dtype),
      beta1=tf.cast(self._beta1_t, grad.dtype),
      beta2=tf.cast(self._beta2_t, grad.dtype),
      epsilon=tf.cast(self._epsilon_t, grad.dtype),
      grad=grad,
    )

  def _finish(self, update_ops, name_scope):
    power, _ = self._get_beta_accumulators()
    with tf.control_dependencies(update_ops):
      updated = power.assign(power * self._beta1_t)
    return tf.group(*update_ops, updated, name=name_scope)


OPTIMIZERS = {
  made.__name__: made
  for made in (AdamWeightDecayOptimizer, LAMBOptimizer, AdamWOptimizer, AdaMaxOptimizer)
}
