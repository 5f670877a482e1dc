"""A trained policy in use: as a function, as an exported program, and played."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import ppo_jax
from ppo_jax.policies.policy import Policy
from ppo_jax.runs import checkpoint, files, manifest, run_folder, runner
from ppo_jax.tasks import drawing, episodes
from ppo_jax.tasks.make import make_env
from ppo_jax.tasks.wrappers import FrameStack, unwrap
from tests.cli.console import call, fail

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "total_timesteps": 32,
    "n_envs": 4,
    "n_steps": 8,
    "n_epochs": 1,
    "batch_size": 32,
    "hidden_sizes": [8],
    "eval_interval": 1,
    "eval_episodes": 4,
    "normalize_observations": True,
}
PLACES = {
    "train.txt": "near(a,b).\nnear(b,a).\nnear(b,c).\nnear(c,b).\nnear(z,y).\nin(a,n).\nin(b,n).\nin(y,s).\n",
    "valid.txt": "in(c,n).\n",
    "test.txt": "in(c,n).\nin(z,s).\n",
    "rules.txt": "in(X,Z) :- near(X,Y), in(Y,Z).\n",
}
MINE = """
    import jax.numpy as jnp
    import numpy as np
    from flax import linen as nn
    import ppo_jax

    class Corridor:  # an observation with a mask: to the left is closed at 0
        action_space, can_truncate, default_params = ppo_jax.Discrete(2), False, None

        def _observe(self, x):
            return {"observation": x[None], "action_mask": jnp.stack([x > 0.0, jnp.ones((), bool)])}

        def reset(self, key, params):
            return self._observe(jnp.zeros(())), jnp.zeros(())

        def step(self, key, state, action, params):
            moved = state + 2.0 * action - 1.0
            done = moved >= 3.0
            state = jnp.where(done, 0.0, moved)
            final = {"final_observation": self._observe(moved)}
            return ppo_jax.EnvStep(self._observe(state), state, done.astype(jnp.float32), done, False & done, final)

    class Drawn(Corridor):
        def render(self, state):  # a white column where it is
            picture = np.zeros((8, 120, 3), np.uint8)
            picture[:, int(state)] = 255
            return picture

    class Misdrawn(Corridor):
        def render(self, state):
            return np.zeros((8, 120))

    class Pictured(Corridor):  # observes a picture of three rows, whose first channel is lit where it is
        channels, dtype, lit = 1, np.uint8, 255

        def _observe(self, x):
            place = jnp.arange(4) == x.astype(int)
            image = jnp.zeros((3, 4, self.channels), self.dtype).at[..., 0].set(self.lit * place.astype(self.dtype))
            return super()._observe(x) | {"image": image}

    class Coloured(Pictured):
        channels, dtype, lit = 2, np.float32, 1.0

    class Small(nn.Module):
        action_space: ppo_jax.Discrete

        @nn.compact
        def __call__(self, observation):
            x = nn.tanh(nn.Dense(4)(observation["observation"]))
            return ppo_jax.Categorical(nn.Dense(2)(x), observation["action_mask"]), nn.Dense(1)(x)[:, 0]
"""


def config_of(**settings):
    return ppo_jax.load_config("cartpole", SMALL | settings)


def write_run(folder: Path, config) -> Path:
    """What a run leaves of its policy, with parameters and statistics drawn instead of trained."""
    experiment = ppo_jax.build(config)
    with manifest.claimed(folder), manifest.staged(folder) as stage:
        run_folder.begin(stage, experiment, runner.beginning(experiment))
    for seed, name in enumerate(("best", "last")):
        params = experiment.untrained(seed)
        moments = jax.tree.map(lambda x: x + 0.5, params.observation_moments)
        weights = jax.tree.map(lambda x: 3.0 * x + 0.1, params.params)  # decided, so that modes are no near ties
        checkpoint.save(folder / "checkpoints" / name, params._replace(params=weights, observation_moments=moments))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A run each of vector observations, continuous actions, a proof task, and your own environment and network."""
    folder = tmp_path_factory.mktemp("runs")
    data = folder / "data"
    data.mkdir()
    for name, text in PLACES.items():
        (data / name).write_text(text)
    (folder / "code_of_mine.py").write_text(textwrap.dedent(MINE))
    mine = {"env_id": "code_of_mine:Corridor", "network": "code_of_mine:Small"}
    sys.path.append(str(folder))
    found = {}
    for name, settings in {
        "cartpole": {"env_id": "CartPole-v1"},
        "pendulum": {"env_id": "Pendulum-v1"},
        "places": {"dataset": str(data), "env_id": None, "mode": "verify", "max_depth": 3, "max_atoms": 3},
        "mine": mine,
    }.items():
        found[name] = write_run(folder / name, config_of(**settings))
    yield found
    sys.path.remove(str(folder))


def observations_of(policy: Policy, n: int):
    """Observations [n, ...] of fresh episodes."""
    env, params = policy.experiment.env, policy.experiment.trainer.env_params
    return jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(jax.random.split(jax.random.key(5), n), params)[0]


@pytest.mark.parametrize("name", ["cartpole", "pendulum", "places", "mine"])
def test_the_policy_is_that_of_the_run_under_jit_and_vmap(runs, name):
    policy, best = ppo_jax.load_policy(runs[name]), ppo_jax.load_policy(runs[name], deterministic=True)
    assert repr(policy).startswith("Policy(") and len(repr(best)) < 200
    observations, keys = observations_of(policy, 6), jax.random.split(jax.random.key(1), 6)
    experiment, params = runner.load(runs[name])
    distribution, _, _ = jax.jit(experiment.policy)(params, observations, (), jnp.zeros(6, bool))
    wanted = distribution.mode()
    if name == "pendulum":
        wanted = jnp.clip(wanted, -2.0, 2.0)
    np.testing.assert_allclose(jax.jit(jax.vmap(best))(observations), wanted, rtol=1e-5)

    drawn = jax.jit(jax.vmap(policy))(observations, keys)
    alone = jax.jit(policy)
    one = [alone(jax.tree.map(lambda x, i=i: x[i], observations), keys[i]) for i in range(6)]
    np.testing.assert_allclose(drawn, np.stack(one), rtol=1e-5)
    assert drawn.shape == wanted.shape and drawn.dtype == wanted.dtype
    if isinstance(observations, dict):
        first = jax.tree.map(lambda x: x[0], observations)
        many = jax.jit(jax.vmap(policy, in_axes=(None, 0)))(first, jax.random.split(jax.random.key(2), 200))
        assert bool(observations["action_mask"][0][many].all())


def test_sampling_follows_the_distribution_and_boxes_are_clipped(runs):
    policy = ppo_jax.load_policy(runs["cartpole"])
    observation = jnp.array([1.0, 1.0, 0.1, -0.5])
    keys = jax.random.split(jax.random.key(0), 4000)
    share = float(jax.jit(jax.vmap(policy, in_axes=(None, 0)))(observation, keys).mean())
    distribution, _, _ = policy.experiment.policy(policy.params, observation[None], (), jnp.zeros(1, bool))
    assert share == pytest.approx(float(jnp.exp(distribution.log_probs()[0, 1])), abs=0.03)
    policy = ppo_jax.load_policy(runs["pendulum"])
    wide = jax.tree.map(lambda x: x, policy.params)
    wide.params["params"]["log_std"] = jnp.full(1, 3.0)
    actions = jax.jit(jax.vmap(Policy(policy.experiment, wide), in_axes=(None, 0)))(jnp.zeros(3), keys)
    assert (float(actions.min()), float(actions.max())) == (-2.0, 2.0)


def test_raw_observations_are_normalised_inside(runs):
    policy = ppo_jax.load_policy(runs["cartpole"], deterministic=True)
    moments = policy.params.observation_moments._replace(mean=jnp.full(4, 3.0))
    shifted = Policy(policy.experiment, policy.params._replace(observation_moments=moments), deterministic=True)
    plain = Policy(policy.experiment, policy.params._replace(observation_moments=()), deterministic=True)
    observations = 3.0 + observations_of(policy, 64) * 40.0
    scaled = (observations - 3.0) / jnp.sqrt(moments.var[None] + 1e-8)
    assert jnp.array_equal(jax.vmap(shifted)(observations), jax.vmap(plain)(jnp.clip(scaled, -10.0, 10.0)))


def test_what_a_policy_refuses(runs, tmp_path):
    policy = ppo_jax.load_policy(runs["cartpole"])
    with pytest.raises(ppo_jax.PPOJaxError, match=r"shape \[8, 4\], the environment's has \[4\]; jax.vmap"):
        jax.jit(policy)(jnp.zeros((8, 4)), jax.random.key(0))
    with pytest.raises(ppo_jax.PPOJaxError, match="needs a key"):
        policy(jnp.zeros(4))
    proof = ppo_jax.load_policy(runs["places"], "last")
    with pytest.raises(ppo_jax.PPOJaxError, match=r"a key is one of jax\.random\.key"):
        policy(jnp.zeros(4), 0)
    with pytest.raises(ppo_jax.PPOJaxError, match=r"the observation lacks .*action_mask, .*gives"):
        proof({"goals": jnp.zeros((3, 3))}, jax.random.key(0))
    halves = jax.tree.map(lambda x: jnp.zeros(x.shape) + 0.5, proof.observation)
    with pytest.raises(ppo_jax.PPOJaxError, match="the observation is float32, the environment's is"):
        proof(halves, jax.random.key(0))
    with pytest.raises(ppo_jax.PPOJaxError, match="expected 'best' or 'last'"):
        ppo_jax.load_policy(runs["cartpole"], "newest")  # type: ignore[arg-type]
    with pytest.raises(ppo_jax.PPOJaxError, match="no run there"):
        ppo_jax.load_policy(tmp_path)


# ---------------------------------------------------------------------------------------------------- with a memory


@pytest.fixture(scope="module", params=["gru", "lstm"])
def remembering(request, tmp_path_factory) -> Path:
    """A run with a recurrent core, of two updates."""
    folder = tmp_path_factory.mktemp("memory") / request.param
    runner.train(
        config_of(core=request.param, core_size=6, sequence_length=4, total_timesteps=64), folder, progress=False
    )
    return folder


def episode_of(policy: Policy, n: int, steps: int = 5):
    """Observations [steps, n, ...] of n episodes, and a key [steps, n] for each."""
    keys = jax.random.split(jax.random.key(7), (steps, n))
    drift = jnp.arange(steps, dtype=jnp.float32)[:, None, None] * jnp.array([0.3, -0.2, 0.1, 0.5])[None, None]
    return observations_of(policy, n)[None] + drift, keys


def test_a_policy_with_a_memory_takes_it_along(remembering):
    policy = ppo_jax.load_policy(remembering)
    assert policy.has_memory and ppo_jax.load_policy(remembering, deterministic=True).has_memory
    start = policy.initial_carry
    assert set(start) == {"actor", "critic"}
    assert all(x.shape == (6,) and not x.any() for x in jax.tree.leaves(start))
    observations, keys = episode_of(policy, 3)
    many, alone = jax.jit(jax.vmap(policy)), jax.jit(policy)
    carry = jax.tree.map(lambda x: jnp.broadcast_to(x, (3, *x.shape)), start)
    one = [start] * 3
    experiment, params = runner.load(remembering)
    theirs, judged = experiment.policy.initial_carry(3), jax.jit(experiment.policy)
    for t, (observation, key) in enumerate(zip(observations, keys, strict=True)):
        actions, carry = many(observation, key, carry)
        steps = [alone(observation[i], key[i], one[i]) for i in range(3)]
        assert actions.tolist() == [int(action) for action, _ in steps]
        one = [memory for _, memory in steps]
        _, _, theirs = judged(params, observation, theirs, jnp.full(3, t == 0))
        for mine, its in zip(jax.tree.leaves(carry), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-6)
            assert mine.any()
        for i, memory in enumerate(one):
            jax.tree.map(lambda x, y, i=i: np.testing.assert_allclose(x[i], y, rtol=1e-5, atol=1e-6), carry, memory)


def test_the_distribution_depends_on_what_was_seen(remembering):
    """The same observation, another memory."""
    policy = ppo_jax.load_policy(remembering, deterministic=True)
    observation = jnp.array([0.1, 0.2, 0.0, -0.1])
    _, carry = policy(50.0 * jnp.ones(4), None, policy.initial_carry)
    distributions = [
        policy.experiment.policy(
            policy.params, observation[None], jax.tree.map(lambda x: x[None], memory), jnp.zeros(1, bool)
        )[0].log_probs()
        for memory in (policy.initial_carry, carry)
    ]
    assert not np.allclose(*distributions, atol=1e-6)


def test_a_memory_that_is_missing_or_none_is_said(runs, remembering):
    policy, observation, key = ppo_jax.load_policy(remembering), jnp.zeros(4), jax.random.key(0)
    complaint = (
        r"it has a memory: action, carry = policy\(observation, key, carry=carry\), at first with policy\.initial_carry"
    )
    with pytest.raises(ppo_jax.PPOJaxError, match=complaint):
        policy(observation, key)
    with pytest.raises(ppo_jax.PPOJaxError, match=complaint):
        jax.jit(policy)(observation, key, jax.tree.map(lambda x: x[None], policy.initial_carry))
    with pytest.raises(ppo_jax.PPOJaxError, match=r"action, carry = policy\(observation, carry=carry\), at first"):
        ppo_jax.load_policy(remembering, deterministic=True)(observation)
    without = ppo_jax.load_policy(runs["cartpole"])
    assert without.initial_carry == () and not without.has_memory
    with pytest.raises(ppo_jax.PPOJaxError, match="it has no memory, and takes no carry"):
        without(observation, key, policy.initial_carry)


@pytest.mark.parametrize("deterministic", [False, True])
def test_an_exported_memory_goes_in_and_comes_out(remembering, tmp_path, deterministic):
    file = tmp_path / "policy.jaxexport"
    options = ("--deterministic",) if deterministic else ()
    code, _, err = call("export", remembering, "--out", file, "--json", *options)
    assert (code, err) == (0, "")
    about = json.loads(file.with_suffix(".json").read_text())
    policy = ppo_jax.load_policy(remembering, deterministic=deterministic)
    assert list(about["inputs"]) == ["observation", *(() if deterministic else ("key",)), "carry"]
    shape = jax.tree.map(lambda x: {"shape": ["n", 6], "dtype": "float32"}, policy.initial_carry)
    assert about["inputs"]["carry"] == json.loads(json.dumps(shape))
    assert about["initial_carry"] == json.loads(json.dumps(jax.tree.map(lambda x: x.tolist(), policy.initial_carry)))
    artifact = jax.export.deserialize(bytearray(file.read_bytes()))
    observations, keys = episode_of(policy, 3, steps=8)
    carry = expected_carry = jax.tree.map(lambda x: jnp.broadcast_to(x, (3, *x.shape)), policy.initial_carry)
    exported, expected = jax.jit(artifact.call), jax.jit(jax.vmap(policy))
    for observation, key in zip(observations, keys, strict=True):
        action, carry = exported(*((observation,) if deterministic else (observation, key)), carry)
        wanted, expected_carry = (
            jax.jit(jax.vmap(lambda x, c: policy(x, None, c)))(observation, expected_carry)
            if deterministic
            else expected(observation, key, expected_carry)
        )
        assert action.tolist() == wanted.tolist()
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), carry, expected_carry)


def test_the_example_serves_a_memory_too(remembering, tmp_path):
    """An empty line begins another episode."""
    file = tmp_path / "policy.jaxexport"
    assert call("export", remembering, "--out", file, "--deterministic")[0] == 0
    policy, rows = ppo_jax.load_policy(remembering, deterministic=True), [[0.3 * t, -0.1, 0.2, 0.4] for t in range(6)]
    act, wanted = jax.jit(lambda x, c: policy(x, None, c)), []
    for _ in range(2):
        carry = policy.initial_carry
        for row in rows:
            action, carry = act(jnp.array(row), carry)
            wanted.append(int(action))
    text = "".join(json.dumps(row) + "\n" for row in rows)
    command = [sys.executable, ROOT / "examples" / "serve_policy.py", file]
    found = subprocess.run(command, input=f"{text}\n{text}", capture_output=True, text=True, check=False)
    assert (found.returncode, [int(line) for line in found.stdout.split()]) == (0, wanted), found.stderr


def test_a_policy_with_a_memory_is_judged_and_played(remembering, tmp_path):
    code, out, err = call("eval", remembering, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["return_mean"] == files.read_summary(remembering)["valid"]["return_mean"]
    command = ("play", remembering, "--out", tmp_path / "episode.gif", "--max-steps", "9", "--json")
    code, out, err = call(*command)
    assert (code, err) == (0, "")
    [episode] = json.loads(out)["episodes"]
    assert episode["length"] == 9 or episode["finished"]
    with Image.open(tmp_path / "episode.gif") as picture:
        assert picture.n_frames == episode["length"]


def test_played_episodes_are_those_of_the_policy_step_by_step(remembering):
    policy = ppo_jax.load_policy(remembering, deterministic=True)
    env, params = policy.experiment.env, policy.experiment.env.default_params
    [episode] = episodes.play(env, policy.experiment.policy, policy.params, 3, 1, 40)
    key_reset, key_steps = jax.random.split(jax.random.split(jax.random.key(3), 1)[0])
    observation, state = jax.jit(env.reset)(key_reset, params)
    act, step, carry, rewards = jax.jit(lambda x, c: policy(x, None, c)), jax.jit(env.step), policy.initial_carry, []
    for seen, key in zip(episode.states, jax.random.split(key_steps, 40), strict=False):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), seen, state)
        action, carry = act(observation, carry)
        taken = step(jax.random.split(key)[1], state, action, params)
        observation, state = taken.observation, taken.state
        rewards.append(float(taken.reward))
    assert rewards == episode.rewards.tolist()


PREDICT = """
import json, sys
sys.modules["ppo_jax"] = None  # as if it were not installed
from pathlib import Path
import jax, numpy as np
from jax import export
results = {}
for name in sys.argv[1:]:
    file = Path(name)
    about = json.loads(file.with_suffix(".json").read_text())
    inputs = np.load(file.with_suffix(".npz"))
    observation = inputs["array"] if "array" in inputs else dict(inputs)
    policy = export.deserialize(bytearray(file.read_bytes()))
    for n in (1, 5):
        arguments = [jax.tree.map(lambda x: x[:n], observation)]
        if "key" in about["inputs"]:
            arguments.append(jax.random.split(jax.random.key(3), 5)[:n])
        results[f"{name} {n}"] = np.asarray(jax.jit(policy.call)(*arguments)).tolist()
try:
    import ppo_jax
except ImportError:
    print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def exported(runs, tmp_path_factory) -> dict[str, Path]:
    """Artifacts of three runs, one of them deterministic, as the command wrote them."""
    folder, files = tmp_path_factory.mktemp("exported"), {}
    for name in ("pendulum", "places", "mine"):
        file = files[name] = folder / f"{name}.jaxexport"
        options = ("--deterministic",) if name == "places" else ()
        code, out, err = call("export", runs[name], "--out", file, "--json", *options)
        assert (code, err) == (0, "")
        about = json.loads(out)
        assert about.pop("run") == str(runs[name]) and about.pop("out") == str(file)
        assert about == json.loads(file.with_suffix(".json").read_text())
    return files


def test_an_exported_policy_predicts_the_same_without_ppo_jax(runs, exported):
    wanted = {}
    for name, file in exported.items():
        policy = ppo_jax.load_policy(runs[name], deterministic=name == "places")
        observations = jax.device_get(observations_of(policy, 5))
        np.savez(
            file.with_suffix(".npz"), **(observations if isinstance(observations, dict) else {"array": observations})
        )
        keys = () if policy.deterministic else (jax.random.split(jax.random.key(3), 5),)
        actions = jax.jit(jax.vmap(policy))(observations, *keys)
        wanted |= {f"{file} {n}": np.asarray(actions[:n]).tolist() for n in (1, 5)}
    command = [sys.executable, "-c", PREDICT, *map(str, exported.values())]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    results = json.loads(found.stdout)
    assert results.keys() == wanted.keys()
    for name, actions in wanted.items():
        np.testing.assert_allclose(results[name], actions, rtol=1e-5, err_msg=name)


def test_what_stands_beside_an_exported_policy(exported):
    about = {name: json.loads(file.with_suffix(".json").read_text()) for name, file in exported.items()}
    assert about["pendulum"]["inputs"] == {
        "observation": {"shape": ["n", 3], "dtype": "float32"},
        "key": {"shape": ["n"], "dtype": "key<fry>"},
    }
    box = {"shape": ["n", 1], "dtype": "float32", "type": "box", "low": [-2.0], "high": [2.0]}
    assert about["pendulum"]["action"] == box
    places = about["places"]
    assert (list(places["inputs"]), places["deterministic"]) == (["observation"], True)
    mask = {"shape": ["n", places["action"]["n"]], "dtype": "bool"}
    assert places["inputs"]["observation"]["action_mask"] == mask
    assert "the last one to give up" in places["action"]["meaning"]


@pytest.mark.parametrize("name", ["pendulum", "places"])
def test_an_exported_policy_is_one_program_for_all_platforms(exported, name):
    artifact = jax.export.deserialize(bytearray(exported[name].read_bytes()))
    assert artifact.platforms == ("cpu", "cuda", "tpu")
    # jax.export's own check that n is positive; it is gone once the program is compiled.
    assert set(re.findall(r"custom_call\s*@(\w+)", artifact.mlir_module())) <= {"shape_assertion"}


def test_the_example_serves_it_from_plain_jax(exported):
    example = str(ROOT / "examples" / "serve_policy.py")
    script = f"import runpy, sys; sys.modules['ppo_jax'] = None; runpy.run_path({example!r})"
    lines = [{"observation": [0.0], "action_mask": [False, True]}, {"observation": [1.0], "action_mask": [True, False]}]
    found = subprocess.run(
        [sys.executable, "-c", script, exported["mine"]],
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout.split()) == (0, ["1", "0"]), found.stderr


def test_mistakes_of_an_export_write_nothing(runs, tmp_path):
    assert "there is no folder" in fail("export", runs["cartpole"], "--out", tmp_path / "x" / "y.bin")
    assert "is a folder" in fail("export", runs["cartpole"], "--out", tmp_path)
    assert "no run there" in fail("export", tmp_path)
    assert "choose another suffix" in fail("export", runs["cartpole"], "--out", tmp_path / "policy.json")
    assert not list(tmp_path.iterdir())


def test_play_writes_a_gif_of_what_evaluation_sees(runs, tmp_path):
    file = tmp_path / "episodes.gif"
    command = ("play", runs["cartpole"], "--out", file, "--episodes", "2", "--max-steps", "12", "--json")
    code, out, err = call(*command)
    assert (code, err) == (0, "")
    found = json.loads(out)
    with Image.open(file) as picture:
        assert picture.n_frames == sum(episode["length"] for episode in found["episodes"])
        assert picture.info["duration"] == 50
        frames = []
        for i in range(picture.n_frames):
            picture.seek(i)
            frames.append(np.asarray(picture.convert("RGB"), int))
    # The cart, the pole and the caption are dark on white, and the pole moves.
    assert all(0.005 < (frame.min(-1) < 128).mean() < 0.2 for frame in frames)
    assert np.abs(frames[0][:-30] - frames[8][:-30]).sum() > 1000
    for episode in found["episodes"]:
        assert episode["return"] == episode["length"] == 12 or episode["finished"]
    before = file.read_bytes()
    call(*command)
    assert file.read_bytes() == before
    call(*command, "--seed", "1")
    assert file.read_bytes() != before
    assert "wrote" in call("play", runs["pendulum"], "--max-steps", "3")[1]
    assert (runs["pendulum"] / "play.gif").is_file()


@pytest.mark.parametrize("env_id", ["Catch-bsuite", "PointRobot-misc"])
def test_what_gymnax_draws_itself(env_id):
    experiment = ppo_jax.build(config_of(env_id=env_id))
    env = drawing.drawable(experiment.env, env_id)
    [episode] = episodes.play(experiment.env, experiment.policy, experiment.untrained(0), 0, 1, 3)
    pictures = list(drawing.draw(env, episode.states))
    assert [picture.shape[2] for picture in pictures] == [3, 3, 3]
    assert pictures[0].std() > 1.0 and (pictures[0] != pictures[-1]).any()


def test_play_shows_proofs_and_writes_them_as_text(runs, tmp_path):
    file = tmp_path / "proofs.txt"
    code, out, _ = call("play", runs["places"], "--episodes", "5", "--out", file)
    assert code == 0 and out == file.read_text()
    queries = {line for line in out.splitlines() if re.fullmatch(r"in\(\w,\w\)", line)}
    assert queries == {"in(c,n)", "in(z,s)"}
    found = json.loads(call("play", runs["places"], "--json")[1])
    [proof] = found["proofs"]
    assert json.loads(call("prove", runs["places"], proof["query"], "--json")[1]) == proof
    experiment, params = runner.load(runs["places"])
    played = [experiment.task.play(experiment.policy, params, seed=seed, n=1, max_steps=9).record for seed in range(8)]
    assert {record["proofs"][0]["query"] for record in played} == queries


def test_what_play_cannot_draw(runs, tmp_path, monkeypatch):
    complaint = fail("play", runs["mine"], "--out", tmp_path / "x.gif")
    assert "code_of_mine:Corridor cannot be drawn; gymnax draws Acrobot-v1, CartPole-v1" in complaint
    assert "--episodes = 0: expected at least 1" in fail("play", runs["mine"], "--episodes", "0")
    assert "there is no folder" in fail("play", runs["cartpole"], "--out", tmp_path / "x" / "y.gif")
    monkeypatch.setitem(sys.modules, "pygame", None)
    assert "pip install 'ppo-jax[play]'" in fail("play", runs["cartpole"], "--out", tmp_path / "x.gif")
    assert not list(tmp_path.iterdir())


def test_an_environment_draws_itself(runs, tmp_path):
    """Walked to the right, a frame a step: the state before each is where the column is white, drawn twice as large."""
    run = write_run(tmp_path / "run", config_of(env_id="code_of_mine:Drawn", network="code_of_mine:Small"))
    found = json.loads(call("play", run, "--json", "--max-steps", "9", "--out", tmp_path / "x.gif")[1])
    experiment, params = runner.load(run)
    played = episodes.play(experiment.env, experiment.policy, params, 0, 1, 9)[0]
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == found["episodes"][0]["length"] == len(played.states)
        for i, state in enumerate(played.states):
            gif.seek(i)
            assert np.asarray(gif.convert("RGB"))[:16, :, 0].argmax(axis=1).tolist() == [2 * int(state)] * 16
    misdrawn = write_run(tmp_path / "other", config_of(env_id="code_of_mine:Misdrawn", network="code_of_mine:Small"))
    complaint = fail("play", misdrawn, "--out", tmp_path / "y.gif")
    assert "render(state) must return uint8 [height, width, 3], got float64 [8, 120]" in complaint
    assert not (tmp_path / "y.gif").exists()


@pytest.mark.parametrize(("name", "colour"), [("Pictured", [255, 255, 255]), ("Coloured", [255, 77, 77])])
def test_what_nothing_draws_is_shown_as_it_is_observed(runs, name, colour):
    env = make_env(f"code_of_mine:{name}")[0]
    shown = drawing.drawable(FrameStack(env, 2), "")
    _, begun = shown.reset(jax.random.key(0), None)
    moved = shown.step(jax.random.key(0), begun, jnp.int32(1), None).state
    inner, states = unwrap(shown, [begun, moved])
    for place, picture in enumerate(drawing.draw(inner, jax.device_get(states))):
        assert picture.shape == (180, 240, 3)
        assert picture[0, place * 60].tolist() == picture[-1, place * 60 + 59].tolist() == colour
        assert picture.any(axis=-1).sum() == 180 * 60


def test_binary_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "policy.bin"
    files.write_atomically(file, b"\x00\r\nold")

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ppo_jax.PPOJaxError, match="No space left"):
        files.write_atomically(file, b"new")
    assert file.read_bytes() == b"\x00\r\nold" and list(tmp_path.iterdir()) == [file]
