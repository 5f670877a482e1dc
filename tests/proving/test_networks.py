"""The proof networks: both ways to multiply and to score agree, padding adds nothing, every option runs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.proving.networks import AtomLayer, Background, InitialEmbeddings, ProofActions, ProofSuccessors

N, G, A, TERMS, PREDICATES, KINDS = 5, 4, 3, 12, 2, 5


def observation(n=N, terms=TERMS):
    rng = np.random.default_rng(0)
    draw = lambda high, *shape: jnp.asarray(rng.integers(0, high, shape), jnp.int32)  # noqa: E731
    atoms = lambda *shape: jnp.stack(  # noqa: E731
        [draw(PREDICATES + 1, *shape), draw(terms, *shape), draw(terms, *shape)], axis=-1
    )
    return {
        "goals": atoms(n, A),
        "query": atoms(n),
        "depth": draw(20, n),
        "action_kind": draw(KINDS, n, G),
        "action_constants": draw(terms, n, G, 2),
        "action_mask": jnp.ones((n, G), bool),
        "successors": atoms(n, G - 1, A),
    }


def background():
    edges = np.array([[1, 2, 0], [2, 1, 0], [3, 1, 1]], np.int32)
    return Background("x", 2, *edges.T, np.array([1.0, 0.5, 1.0], np.float32))


@pytest.mark.parametrize("terms", [TERMS, 40])
def test_atoms_add_up_by_role_and_place(terms):
    """On either side of the product: fewer terms than the 16 states, and more."""
    seen = observation(16, terms)
    roles = (seen["goals"][:, :1], seen["goals"][:, 1:], seen["query"][:, None])
    layer = AtomLayer(PREDICATES, terms, 8, 6, 1.0, n_roles=3)
    params = layer.init(jax.random.key(0), *roles)
    p = jax.tree.map(np.asarray, params["params"])
    kernel = p["kernel"].reshape(3, 3, 8, 6)
    expected = np.tile(p["bias"], (16, 1))
    for role, atoms in enumerate(roles):
        for state, slots in enumerate(np.asarray(atoms)):
            for atom in slots:
                for place, (ids, table) in enumerate(zip(atom, (p["predicates"], p["terms"], p["terms"]), strict=True)):
                    expected[state] += table[ids] @ kernel[role, place] * (ids > 0)  # id 0 adds nothing
    assert np.allclose(layer.apply(params, *roles), expected, atol=1e-5)


@pytest.mark.parametrize("network", [ProofActions, ProofSuccessors])
def test_initial_values_stay_those_of_the_first_version(network):
    """Taken from it with the same key; checkpoints load and training with a seed repeats only if these do."""
    params = network(PREDICATES, TERMS, KINDS, 8, (8, 6), residual_layers=1).init(jax.random.key(0), observation())
    actor, critic, head = (params["params"][name] for name in ("actor", "critic", "actor_head"))
    for layer, first in [
        (actor["depth"], [-0.68279624, -0.34956339]),
        (critic["open_actions"], [-0.33330503, 0.31093404]),
        (critic["trunk"]["Dense_1"], [0.21725419, -0.47973239]),
        (head, [0.0036932991, 0.00089827593]),
    ]:
        np.testing.assert_allclose(layer["kernel"][0, :2], first, rtol=1e-5)
    assert set(actor["depth"]) == set(critic["open_actions"]) == {"kernel"}
    assert set(head) == {"kernel", "bias"}


@pytest.mark.parametrize("facts", [None, background()])
def test_scores_by_vocabulary_and_by_rows_agree(facts):
    seen = observation()
    small = ProofActions(PREDICATES, TERMS, KINDS, 8, (8,), background=facts, fact_layers=2 if facts else 0)
    params = small.init(jax.random.key(0), seen)
    logits = small.apply(params, seen)[0].logits
    keys = small.apply(params, method=lambda m: jnp.tanh(m.action(m.described_terms())))
    keys, kinds = keys.at[0].set(0.0), params["params"]["kinds"]
    wanted = small.apply(params, method=lambda m: m.actor_head(m.actor(seen)))
    rows = keys[seen["action_constants"]].sum(axis=2) + kinds[seen["action_kind"]]
    assert np.allclose(logits, jnp.einsum("nd,ngd->ng", wanted, rows), atol=1e-6)
    # A vocabulary beyond 32 terms a slot takes the other way; growing it by unused terms must change no score.
    grown = TERMS + 40 * G
    big = ProofActions(PREDICATES, grown, KINDS, 8, (8,), background=facts, fact_layers=2 if facts else 0)
    pad = lambda path, x: (  # noqa: E731
        jnp.pad(x, ((0, grown - TERMS), (0, 0))) if "terms" in jax.tree_util.keystr(path) else x
    )
    bigger = jax.tree_util.tree_map_with_path(pad, params)
    assert np.allclose(big.apply(bigger, seen)[0].logits, logits, atol=1e-6)


def test_a_described_term_gains_its_neighbours():
    network = ProofActions(PREDICATES, TERMS, KINDS, 8, (8,), background=background(), fact_layers=1)
    params = network.init(jax.random.key(0), observation())
    own = params["params"]["actor"]["atoms"]["terms"]
    described = network.apply(params, method=network.described_terms)
    assert np.allclose(described[1], own[1] + 0.5 * own[2] + own[3], atol=1e-6)  # weights 1 at the start
    assert np.array_equal(described[4], own[4])


@pytest.mark.parametrize("network", [ProofActions, ProofSuccessors])
@pytest.mark.parametrize("separate_critic", [True, False])
def test_a_state_is_judged_alone(network, separate_critic):
    seen = observation()
    module = network(PREDICATES, TERMS, KINDS, 8, (8, 8), residual_layers=1, separate_critic=separate_critic)
    params = module.init(jax.random.key(0), seen)
    policy, value = module.apply(params, seen)
    assert policy.logits.shape == (N, G)
    assert value.shape == (N,)
    one_policy, one_value = module.apply(params, jax.tree.map(lambda x: x[2:3], seen))
    assert np.allclose(one_policy.logits[0], policy.logits[2], atol=1e-6)
    assert np.allclose(one_value[0], value[2], atol=1e-6)


def test_the_actor_does_not_see_the_query_and_the_critic_does():
    seen = observation()
    module = ProofActions(PREDICATES, TERMS, KINDS, 8, (8,))
    params = module.init(jax.random.key(0), seen)
    policy, value = module.apply(params, seen)
    other = {**seen, "query": seen["query"].at[:, 1].set(3).at[:, 0].set(1)}
    other_policy, other_value = module.apply(params, other)
    assert np.array_equal(policy.logits, other_policy.logits)
    assert not np.allclose(value, other_value)


def test_an_untrained_policy_takes_rules_by_their_confidence():
    """Kinds are 0 padding, 1 a fact, then the rules, and last the end; its logits are small besides."""
    confidences = (0.5, 0.05)
    seen = observation() | {"action_kind": jnp.tile(jnp.array([1, 2, 3, 4]), (N, 1))}
    networks = [ProofActions(PREDICATES, TERMS, KINDS, 8, (8,), confidences=c) for c in (None, confidences)]
    params = networks[1].init(jax.random.key(0), seen)
    plain = jax.tree.map(lambda x: x, params)
    del plain["params"]["confidence_weight"]
    without, weighed = (net.apply(p, seen)[0].logits for net, p in zip(networks, (plain, params), strict=True))
    np.testing.assert_allclose(weighed - without, np.tile(np.log([1.0, 0.5, 0.05, 1.0]), (N, 1)), atol=1e-5)


@pytest.mark.parametrize("network", [ProofActions, ProofSuccessors])
def test_constants_can_look_alike(network):
    """Any constants in place of others change nothing; variables still differ."""
    n_constants = TERMS - 4
    net = network(PREDICATES, 2 + 4, KINDS, 8, (8,), n_alike=n_constants)
    seen = observation()
    params = net.init(jax.random.key(0), seen)
    other = jnp.where(jnp.arange(TERMS) > n_constants, jnp.arange(TERMS), jnp.arange(TERMS) % 3 + 1).at[0].set(0)

    def renamed(table):
        atoms = {
            name: jnp.concatenate([seen[name][..., :1], table[seen[name][..., 1:]]], axis=-1)
            for name in ("goals", "query", "successors")
        }
        return seen | atoms | {"action_constants": table[seen["action_constants"]]}

    expected, value = net.apply(params, seen)
    found, other_value = net.apply(params, renamed(other))
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-6)
    np.testing.assert_allclose(other_value, value, atol=1e-6)
    swapped, _ = net.apply(params, renamed(jnp.arange(TERMS).at[jnp.array([9, 10])].set(jnp.array([10, 9]))))
    assert not np.allclose(swapped.logits, expected.logits, atol=1e-6)


@pytest.mark.parametrize("network", [ProofActions, ProofSuccessors])
def test_embeddings_begin_from_given_rows(network):
    """Brought to the scale of the draws they take the place of; all else is drawn as without them."""
    rng = np.random.default_rng(1)
    predicates, constants = (rng.normal(size=(n, 8)).astype(np.float32) for n in (PREDICATES + 1, 9))
    predicates[2] = np.nan
    given = [None, InitialEmbeddings("both", predicates, constants), InitialEmbeddings("one", predicates, None)]
    drawn, both, one = (
        network(PREDICATES, TERMS, KINDS, 8, (8,), initial=initial).init(jax.random.key(0), observation())["params"]
        for initial in given
    )
    tables = [("actor", "atoms", 0.1), ("critic", "atoms", 1.0)]
    for part, layer, scale in tables:
        found, plain, alike = (params[part][layer] for params in (both, drawn, one))
        np.testing.assert_allclose(found["predicates"][:2], predicates[:2], rtol=1e-6)
        np.testing.assert_array_equal(found["predicates"][2:], plain["predicates"][2:])
        np.testing.assert_allclose(found["terms"][:9], scale * constants, rtol=1e-6)
        np.testing.assert_array_equal(found["terms"][9:], plain["terms"][9:])
        np.testing.assert_array_equal(alike["terms"], plain["terms"])
        np.testing.assert_array_equal(alike["predicates"], found["predicates"])
    if network is ProofSuccessors:
        np.testing.assert_allclose(both["successor"]["terms"][:9], 0.1 * constants, rtol=1e-6)
    others = [{k: v for k, v in p.items() if k not in ("actor", "critic", "successor")} for p in (drawn, both)]
    jax.tree.map(np.testing.assert_array_equal, *others)
