"""A trained policy as a pure function: `load_policy` reads it from a run, ``jax.jit`` and ``jax.vmap`` apply to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.ops.distributions import to_bounds
from ppo_jax.ops.network import has_memory
from ppo_jax.runs import runner
from ppo_jax.runs.experiment import Experiment, PolicyParams
from ppo_jax.types import ActionSpace, Box, PPOJaxError, PyTree

__all__ = ["Policy", "load_policy", "shapes_of"]


@dataclass(eq=False)
class Policy:
    """What to do in one observation: ``policy(observation, key) -> action``, pure and without a batch.

    With a memory it is ``policy(observation, key, carry) -> (action, carry)``; an episode begins with `initial_carry`.

    Its parameters are constants of whatever compiles it. A policy just trained, without a run folder, is
    ``Policy(experiment, experiment.trained(state))``.
    """

    experiment: Experiment
    params: PolicyParams
    deterministic: bool = False

    def __repr__(self) -> str:
        """Short: its parameters are large."""
        task = self.experiment.config.task
        return f"Policy({task.env_id or task.dataset}, deterministic={self.deterministic})"

    @property
    def action_space(self) -> ActionSpace:
        """The environment's."""
        return self.experiment.env.action_space

    @cached_property
    def observation(self) -> PyTree:
        """Shape and dtype of what it must be given, as ``jax.ShapeDtypeStruct``: what the environment returns.

        A `privileged` part, which only the critic saw, is not needed.
        """
        return _public(self._in_training)

    @cached_property
    def _in_training(self) -> PyTree:
        env = self.experiment.env
        return jax.eval_shape(env.reset, jax.random.key(0), env.default_params)[0]

    @property
    def has_memory(self) -> bool:
        """Whether it takes a carry and returns the next one."""
        return has_memory(self.experiment.trainer.network)

    @property
    def initial_carry(self) -> PyTree:
        """The memory at the beginning of an episode; () without."""
        return jax.tree.map(lambda x: x[0], self.experiment.policy.initial_carry(1))

    def __call__(self, observation: PyTree, key: jax.Array | None = None, carry: PyTree = ()) -> Any:
        """The action to take.

        Args:
            observation: one observation as the environment returns it, raw: the run's normalisation is applied here. A
                dictionary with ``action_mask`` never gets an action that the mask forbids. `observation` of the class
                has its shapes.
            key: draws the action; a deterministic policy ignores it.
            carry: of a policy with memory: `initial_carry`, or what the step before returned.

        Returns:
            [] int32, [k] int32 of k choices, or [size] float32 within the bounds of the Box. With a memory a pair, the
            action and the next carry.

        Raises:
            PPOJaxError: an observation or a carry of another shape, fractions where the environment observes whole
                numbers, or no key; under jit while it is traced.
        """
        observation = _public(observation)
        self._check(observation, key, carry)
        if isinstance(observation, dict) and "privileged" in self._in_training:  # for the value, which nobody reads
            unseen = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self._in_training["privileged"])
            observation = observation | {"privileged": unseen}
        batch = jax.tree.map(lambda x, like: jnp.asarray(x, like.dtype)[None], observation, self._in_training)
        memory = jax.tree.map(lambda x: jnp.asarray(x)[None], carry)
        distribution, _, memory = self.experiment.policy(self.params, batch, memory, jnp.zeros(1, bool))
        action = (distribution.mode() if self.deterministic else distribution.sample(key))[0]
        if isinstance(self.action_space, Box):
            action = to_bounds(self.action_space, action)
        return (action, jax.tree.map(lambda x: x[0], memory)) if self.has_memory else action

    def _check(self, observation: PyTree, key: jax.Array | None, carry: PyTree) -> None:
        arguments = "observation" if self.deterministic else "observation, key"
        call = f"policy({arguments}, carry=carry)" if self.has_memory else f"policy({arguments})"
        if key is None and not self.deterministic:
            raise PPOJaxError(f"policy: needs a key to draw an action, {call}; or load it deterministic")
        if not (key is None or self.deterministic or isinstance(key, jax.Array)):
            raise PPOJaxError(f"policy: a key is one of jax.random.key(seed), got {key!r}")
        if shapes_of(carry) != shapes_of(self.initial_carry):
            raise PPOJaxError(
                f"policy: it has a memory: action, carry = {call}, at first with policy.initial_carry"
                if self.has_memory
                else "policy: it has no memory, and takes no carry"
            )
        both = isinstance(self.observation, dict) and isinstance(observation, dict)
        if both and (lacking := sorted(self.observation.keys() - observation.keys())):
            raise PPOJaxError(f"policy: the observation lacks {', '.join(lacking)}, which the environment gives")
        given, expected = shapes_of(observation), shapes_of(self.observation)
        if given != expected:
            raise PPOJaxError(
                f"policy: the observation has the shape {given}, the environment's has {expected}; "
                "jax.vmap(policy) takes batches"
            )
        for x, like in zip(jax.tree.leaves(observation), jax.tree.leaves(self.observation), strict=True):
            if jnp.issubdtype(jnp.result_type(x), jnp.floating) and not jnp.issubdtype(like.dtype, jnp.floating):
                raise PPOJaxError(
                    f"policy: the observation is {jnp.result_type(x)}, the environment's is {like.dtype}; give it as "
                    "the environment does, images of uint8 not divided by 255"
                )


def _public(observation: PyTree) -> PyTree:
    if not isinstance(observation, dict):
        return observation
    return {name: x for name, x in observation.items() if name != "privileged"}


def load_policy(
    run: str | Path, which: Literal["best", "last"] = "best", *, deterministic: bool = False, trust: bool = False
) -> Policy:
    """The trained policy of a run, a pure function ``policy(observation, key) -> action``.

    For example, for eight observations at once::

        policy = jax.jit(jax.vmap(ppo_jax.load_policy("runs/mine")))
        actions = policy(observations, jax.random.split(key, 8))

    Args:
        run: folder of a run; environments and networks named by an import path are imported again.
        which: the parameters best on valid, or the last ones.
        deterministic: take the most likely action (of a Gaussian, its mean) and need no key, instead of drawing one.
        trust: consent to the code that the run names, where it was not made here.

    Raises:
        PPOJaxError: no run there, code without consent, or parameters that do not fit its configuration.
    """
    if which not in ("best", "last"):
        raise PPOJaxError(f"load_policy: which = {which!r}; expected 'best' or 'last'")
    return Policy(*runner.load(run, which, trust=trust), deterministic=deterministic)


def shapes_of(tree: PyTree) -> Any:
    """The shape of every leaf, as a list, in the structure of `tree`."""
    return jax.tree.map(lambda x: list(np.shape(x)), tree)
