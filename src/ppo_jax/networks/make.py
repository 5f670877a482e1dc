"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from ppo_jax.config.imported import check_call
from ppo_jax.networks import cpu
from ppo_jax.networks.conv import ConvActorCritic
from ppo_jax.networks.mlp import MLPActorCritic
from ppo_jax.networks.recurrent import RecurrentActorCritic
from ppo_jax.types import ActionSpace, PPOJaxError

__all__ = ["NETWORKS", "from_class", "make"]

NETWORKS: dict[str, type[nn.Module]] = {"mlp": MLPActorCritic, "cnn": ConvActorCritic}


def make(
    name: str, action_space: ActionSpace, *, core: str | None = None, core_size: int = 64, **layers: Any
) -> nn.Module:
    """The network `name` of `NETWORKS`, with a memory where `core` is ``"gru"`` or ``"lstm"``.

    On a CPU it has the form that trains faster there, if it computes in float32; its parameters are the same.

    Args:
        name: a key of `NETWORKS`.
        action_space: what the policy chooses from.
        core: ``"gru"``, ``"lstm"`` or None.
        core_size: units of the core.
        **layers: `hidden_sizes`, `activation`, `residual_layers`, `separate_critic`, `log_std_init`,
            `state_dependent_std` and `dtype`.
    """
    on_cpu = jax.default_backend() == "cpu" and layers.get("dtype") is None
    if on_cpu and name == "cnn":
        layers["convolution"] = cpu.convolution
    if core is not None:
        return RecurrentActorCritic(action_space, core, core_size, encoder=name, **layers)
    if on_cpu and name == "mlp":
        return cpu.ColumnMLPActorCritic(action_space, **layers)
    return NETWORKS[name](action_space, **layers)


def from_class(network: Callable[..., Any], action_space: ActionSpace, place: str) -> Any:
    """Build a network of the user's own, ``network(action_space=action_space)``.

    Args:
        network: a class or a function; nothing else is called.
        action_space: of the environment.
        place: the setting that named it, for the error.

    Raises:
        PPOJaxError: it cannot be called so, or is a class of something else.
    """
    if isinstance(network, type) and not (hasattr(network, "init") and hasattr(network, "apply")):
        raise PPOJaxError(
            f"{place}: {network.__name__} is no network: it has no init and apply, as a flax.linen module"
        )
    check_call(network, place, action_space=action_space)
    return network(action_space=action_space)
