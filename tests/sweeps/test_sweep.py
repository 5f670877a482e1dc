"""Sweeps: what is planned, that members are the runs they would be alone, and that nothing is lost by a stop."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import Mock

import jax
import numpy as np
import pytest

from ppo_jax import ppo
from ppo_jax.analysis import sweep_results
from ppo_jax.analysis.readers import read_run
from ppo_jax.cli import main
from ppo_jax.config import Config, load_config
from ppo_jax.runs import files, loggers, loop, runner
from ppo_jax.runs.experiment import build
from ppo_jax.runs.lock import InUse, one_writer
from ppo_jax.sweeps import side_by_side, sweep
from ppo_jax.sweeps.plan import by_program, make_plan
from ppo_jax.types import PPOJaxError
from tests.runs.test_resume import MEMORY, TOY, Killed, damage, lines

GRID = ("learning_rate=0.01,0.02", "ent_coef=0,0.1")
QUICK = TOY.override({"total_timesteps": 128, "eval_interval": 2})  # 4 updates


def run(folder: Path, config: Config = QUICK, seeds: int = 2, grid=GRID, **options) -> dict:
    return sweep.run(make_plan(config, seeds, grid), folder, progress=False, **options)


# ------------------------------------------------------------------------------------------------------ the plan


def test_a_plan_crosses_seeds_and_values():
    plan = make_plan(QUICK.override({"seed": 5}), 2, ["learning_rate=1e-3,2e-3", "target_kl=none,0.02"])
    assert [member.name for member in plan.members] == [
        f"learning_rate={rate}-target_kl={limit}-s{seed}"
        for rate in ("0.001", "0.002")
        for limit in ("none", "0.02")
        for seed in (5, 6)
    ]
    config = plan.members[3].config
    assert (config.ppo.learning_rate, config.ppo.target_kl, config.run.seed) == (1e-3, 0.02, 6)
    assert len(by_program(plan.members)) == 1
    assert type(plan).from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_settings_that_print_alike_have_folders_of_their_own():
    rates = ["gamma=0.9999991,0.9999992,1.0,0.1", "learning_rate=1e6,0.1,0.30000000000000004,0.3"]
    members = make_plan(QUICK, 1, rates).members
    assert len({member.name for member in members}) == 16
    names = [member.name for member in make_plan(QUICK, 1, rates[:1]).members]
    assert names == ["gamma=0.9999991-s0", "gamma=0.9999992-s0", "gamma=1-s0", "gamma=0.1-s0"]
    words = make_plan(QUICK, 1, ['rules="a b",a_b,A_b,"a/b"']).members
    assert [member.name for member in words] == ["rules=a_b-s0", "rules=a_b~2-s0", "rules=A_b~3-s0", "rules=a_b~4-s0"]
    assert [member.config.task.rules for member in words] == ["a b", "a_b", "A_b", "a/b"]
    long = make_plan(QUICK, 2, [f"rules={'x' * 300},{'x' * 301}"]).members
    assert [member.name for member in long] == ["setting-0-s0", "setting-0-s1", "setting-1-s0", "setting-1-s1"]


def test_a_part_of_a_schedule_may_follow_the_whole():
    (member,) = make_plan(QUICK, 1, ["learning_rate=0.1", "learning_rate.final=0"]).members
    assert (member.config.ppo.learning_rate.init, member.config.ppo.learning_rate.final) == (0.1, 0.0)


def test_members_share_a_program_unless_shapes_counts_or_switches_differ():
    plan = make_plan(QUICK, 2, ["gamma=0.9,0.99", "hidden_sizes=[8],[8,8]", "learning_rate.final=0,1e-5"])
    assert [len(members) for members in by_program(plan.members)] == [8, 8]
    adaptive = QUICK.override(['learning_rate={ shape = "kl_adaptive", init = 1e-3, desired_kl = 0.01 }'])
    limits = make_plan(adaptive, 2, ["learning_rate.desired_kl=0.01,0.02", "learning_rate.init=1e-3,1e-4"])
    assert [len(members) for members in by_program(limits.members)] == [8]
    coefs = make_plan(QUICK, 1, ["loss_coefs.a=0.1,0.3", "loss_coefs.b=0,1"])
    assert coefs.members[1].name == "loss_coefs.a=0.1-loss_coefs.b=1-s0"
    assert coefs.members[1].config.hyperparams.loss_coefs == {"a": 0.1, "b": 1.0}
    assert [len(members) for members in by_program(coefs.members)] == [4]
    assert len(by_program([*coefs.members, *make_plan(QUICK, 1, ["loss_coefs.a=1,2"]).members])) == 2
    for n_seeds, setting in ((3, "n_epochs=1,2"), (2, "normalize_advantage=true,false")):
        members = make_plan(QUICK, n_seeds, [setting]).members
        assert [len(together) for together in by_program(members)] == [n_seeds, n_seeds]


@pytest.mark.parametrize(
    "seeds, grid, message",
    [
        (2, ["learnin_rate=1,2"], "--grid learnin_rate: unknown key 'learnin_rate'; did you mean learning_rate"),
        (2, ["learning_rate"], "--grid learning_rate: expected key=value,value"),
        (2, ["gamma=0.9,2.0"], "--grid: ppo.gamma: Expected"),
        (2, ["gamma=0.9,0.9"], "--grid gamma=0.9,0.9: given twice"),
        (2, ["gamma=0.9", "gamma=0.8"], "--grid gamma=0.8: given twice"),
        (2, ["gamma=0.9,0.8", "ppo.gamma=0.7,0.6"], "--grid ppo.gamma: gamma is given twice, before as gamma"),
        (2, ["learning_rate.final=0,1e-4", "learning_rate=0.1"], "learning_rate is given twice, before as"),
        (2, ["reward_type=4", "reward=verify"], "--grid reward: reward is given twice, before as reward_type"),
        (2, ["seed=1,2"], "--seeds says how many"),
        (2, ["batch_size=16,17"], "does not divide the rollout"),
        (0, [], "--seeds 0: a sweep needs at least one seed"),
    ],
)
def test_what_cannot_be_planned_is_one_line(seeds, grid, message, tmp_path, capsys):
    with pytest.raises(PPOJaxError) as caught:
        make_plan(QUICK, seeds, grid)
    assert message in str(caught.value)
    (tmp_path / "toy.toml").write_text(QUICK.to_toml())
    command = ["sweep", str(tmp_path / "toy.toml"), "--seeds", str(seeds), "--run-dir", str(tmp_path / "sweep")]
    assert main([*command, *(part for text in grid for part in ("--grid", text))]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "sweep").exists()


# --------------------------------------------------------------------------------------------- members are runs


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    run(folder)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory, swept) -> Path:
    """One of the members, trained by itself."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    member = load_config(swept / "members" / "learning_rate=0.02-ent_coef=0.1-s1" / "config.toml")
    runner.train(member, folder, progress=False)
    return folder


def test_one_compilation_for_every_seed_and_traced_setting(swept):
    record = json.loads((swept / "sweep.json").read_text())
    assert (record["status"], record["compiles"], len(record["members"])) == ("completed", 1, 8)
    assert {member["status"] for member in record["members"]} == {"completed"}
    member = record["members"][5]
    assert (member["name"], member["seed"]) == ("learning_rate=0.02-ent_coef=0-s1", 1)
    assert member["setting"] == {"learning_rate": 0.02, "ent_coef": 0}
    assert (member["hyperparameters"]["learning_rate"], member["hyperparameters"]["gamma"]) == (0.02, 0.99)
    assert set(member["test"]) == {"return_mean", "return_std", "length_mean", "episodes"}
    assert member["final"]["learning_rate"] == pytest.approx(0.02)


def test_a_member_is_the_run_it_would_be_alone(swept, alone):
    member = swept / "members" / "learning_rate=0.02-ent_coef=0.1-s1"
    assert {path.name for path in member.iterdir()} == {path.name for path in alone.iterdir()}
    mine, its = lines(member / "metrics.jsonl"), lines(alone / "metrics.jsonl")
    assert [row["update"] for row in mine] == [1, 2, 3, 4]
    for a, b in zip(mine, its, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name] == pytest.approx(b[name], rel=1e-3, abs=1e-4), name
    _, params = runner.load(member)
    _, others = runner.load(alone)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(others), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "side by side"])
def test_environments_are_bit_equal_and_floats_agree_after_an_update(together):
    plan = make_plan(QUICK, 3)
    experiment = build(QUICK)
    single = [experiment.initial_state(member.config.run.seed) for member in plan.members]
    states = jax.tree.map(lambda *x: jax.numpy.stack(x), *single)
    after, _ = side_by_side.run_members(experiment.trainer, states, jax.numpy.int32(1), side_by_side=together)
    for i, state in enumerate(single):
        want, _ = jax.jit(ppo.update)(experiment.trainer, state)
        got = jax.tree.map(lambda x, i=i: x[i], after)
        for a, b in zip(*map(jax.tree.leaves, (got.rollout.env_state, want.rollout.env_state)), strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(*map(jax.tree.leaves, (got.learner.params, want.learner.params)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "side by side"])
def test_members_with_a_memory_are_the_runs_they_would_be_alone(tmp_path, together):
    record = run(tmp_path / "sweep", MEMORY, grid=(), side_by_side=together)
    assert (record["compiles"], record["programs"][0]["width"]) == (1, 2)
    for member in record["members"]:
        folder, alone = tmp_path / "sweep" / "members" / member["name"], tmp_path / member["name"]
        runner.train(load_config(folder / "config.toml"), alone, progress=False)
        for name in ("metrics.jsonl", "eval.jsonl"):
            for a, b in zip(lines(folder / name), lines(alone / name), strict=True):
                assert a == pytest.approx(b, rel=1e-3, abs=1e-4)
        ours, others = (jax.tree.leaves(runner.load(where, "last")[1]) for where in (folder, alone))
        for a, b in zip(ours, others, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "backend, devices, asked, expected",
    [
        ("cpu", 1, None, False),
        ("cpu", 2, None, True),
        ("gpu", 1, None, True),
        ("cpu", 1, True, True),
        ("gpu", 1, False, False),
    ],
)
def test_members_train_side_by_side_where_that_is_faster(tmp_path, monkeypatch, backend, devices, asked, expected):
    """One after another on a CPU, side by side on an accelerator or several devices, otherwise as asked for."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    plan = make_plan(QUICK, 2, ["n_epochs=1,2"])
    programs = sweep._claim(plan, tmp_path / "sweep", None, devices, asked)["programs"]
    assert [(one["members"], one["devices"], one["side_by_side"]) for one in programs] == [(2, devices, expected)] * 2


def test_a_sweep_keeps_the_order_it_began_with(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(runner, "test", lambda *_: (_ for _ in ()).throw(Killed))
        run(tmp_path / "sweep", grid=(), side_by_side=True)
    record = run(tmp_path / "sweep", grid=())
    assert (record["status"], record["programs"][0]["side_by_side"]) == ("completed", True)


def test_members_on_several_devices_train_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep.mesh, "require_devices", lambda devices: None)
    with pytest.raises(PPOJaxError, match="--devices spreads members that train side by side"):
        run(tmp_path / "sweep", devices=2, side_by_side=False)
    assert not (tmp_path / "sweep" / "sweep.json").exists()


def test_chunks_do_not_change_what_is_learnt(swept, tmp_path):
    record = run(tmp_path / "sweep", chunk=3)
    assert (record["programs"][0]["width"], record["compiles"]) == (3, 1)  # 8 members: 3, 3 and 2 of one width
    for member in json.loads((swept / "sweep.json").read_text())["members"]:
        mine = read_run(tmp_path / "sweep" / "members" / member["name"])
        its = read_run(swept / "members" / member["name"])
        np.testing.assert_allclose(mine.columns["value_loss"], its.columns["value_loss"], rtol=1e-3, atol=1e-5)


def test_a_member_can_be_taken_out_and_used(swept, tmp_path, capsys):
    name = "learning_rate=0.01-ent_coef=0-s0"
    assert main(["sweep", "extract", str(swept), name, "--out", str(tmp_path / "run")]) == 0
    assert main(["eval", str(tmp_path / "run"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    summary = json.loads((swept / "members" / name / "summary.json").read_text())
    assert result["return_mean"] == summary["valid"]["return_mean"]
    longer = runner.resume(tmp_path / "run", ["total_timesteps=192"], progress=False, warn=lambda text: None)
    assert longer["updates"] == 6
    assert main(["sweep", "extract", str(swept), name, "--out", str(tmp_path / "run")]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(["sweep", "extract", str(swept), "learning_rate=0.01-ent_coef=0-s9", "--out", str(tmp_path / "x")]) == 2
    assert "no member 'learning_rate=0.01-ent_coef=0-s9'; did you mean" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------- stopping and faults


def test_a_killed_sweep_goes_on_and_loses_nothing(swept, tmp_path, monkeypatch):
    config = QUICK.override({"checkpoint_interval": 1})
    write, count = loggers.JSONLines.write, 0

    def deadly(self, row):
        nonlocal count
        count += self._path.name == "eval.jsonl"
        if count == 7:  # the third member at the second evaluation of the first chunk of four
            raise Killed
        write(self, row)

    monkeypatch.setattr(loggers.JSONLines, "write", deadly)
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)
    with pytest.raises(Killed):
        run(tmp_path / "sweep", config, chunk=4)
    monkeypatch.setattr(loggers.JSONLines, "write", write)
    record = run(tmp_path / "sweep", config, chunk=4)
    assert record["status"] == "completed"
    for member in record["members"]:
        folder = tmp_path / "sweep" / "members" / member["name"]
        for name in ("metrics.jsonl", "eval.jsonl"):
            mine, its = lines(folder / name), lines(swept / "members" / member["name"] / name)
            assert [row["update"] for row in mine] == [row["update"] for row in its]
    before = {path: path.read_bytes() for path in (tmp_path / "sweep" / "members").rglob("*") if path.is_file()}
    monkeypatch.setattr(side_by_side, "build", None)  # nothing is left to do
    run(tmp_path / "sweep", config, chunk=4)
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(PPOJaxError, match="holds another sweep"):
        run(tmp_path / "sweep", config, seeds=3)


def test_a_member_that_diverges_fails_alone(tmp_path):
    config = QUICK.override({"normalize_rewards": False, "normalize_values": False, "max_grad_norm": 1e30})
    record = run(tmp_path / "sweep", config, seeds=1, grid=["learning_rate=0.01,1e30"])
    good, bad = record["members"]
    assert (good["status"], bad["status"]) == ("completed", "failed")
    assert "is not finite" in bad["error"]
    found = sweep_results.conclude(tmp_path / "sweep")
    assert [group["failed"] for group in found["groups"]] == [0, 1]


@pytest.mark.parametrize("when", ["built", "compiled"])
def test_a_program_that_cannot_be_built_fails_alone(tmp_path, monkeypatch, capsys, when):
    def refuse_two_epochs(function):
        def call(subject, *arguments, **options):
            if subject.settings.n_epochs == 2:
                raise PPOJaxError("no room for two")
            return function(subject, *arguments, **options)

        return call

    (tmp_path / "toy.toml").write_text(QUICK.to_toml())
    sweep_it = ["sweep", str(tmp_path / "toy.toml"), "--seeds", "1", "--grid", "n_epochs=2,1", "--quiet"]
    sweep_it += ["--run-dir", str(tmp_path / "sweep")]
    with monkeypatch.context() as patch:
        side_by_side.share.cache_clear()
        if when == "built":
            patch.setattr(side_by_side, "build", refuse_two_epochs(build))
        else:
            patch.setattr(sweep, "run_members", Mock(lower=refuse_two_epochs(sweep.run_members.lower)))
        assert main(sweep_it) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {tmp_path / 'sweep'}: no room for two; not trained: n_epochs=2-s0\n"
    assert "2 settings × 1 seed: 1 failed, 1 completed" in captured.out
    assert main(sweep_it) == 0  # what was the matter has been mended
    assert [member["status"] for member in sweep.read_sweep(tmp_path / "sweep")["members"]] == ["completed"] * 2


def test_a_full_disk_is_no_fault_of_a_member(tmp_path, monkeypatch):
    def full(self, row):
        raise PPOJaxError("metrics.jsonl: cannot be written: No space left on device")

    with monkeypatch.context() as patch, pytest.raises(PPOJaxError, match="No space left"):
        patch.setattr(loggers.JSONLines, "write", full)
        run(tmp_path / "sweep", seeds=1, grid=())
    assert files.read_summary(tmp_path / "sweep" / "members" / "s0")["status"] == "interrupted"
    assert run(tmp_path / "sweep", seeds=1, grid=())["members"][0]["status"] == "completed"


def test_a_damaged_checkpoint_of_a_member_and_other_code_are_reported(tmp_path, monkeypatch):
    config = QUICK.override({"checkpoint_interval": 1})
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(runner, "test", lambda *_: (_ for _ in ()).throw(Killed))
        run(tmp_path / "sweep", config, seeds=2, grid=(), chunk=2)
    damage(tmp_path / "sweep" / "members" / "s1", "half")
    environment = tmp_path / "sweep" / "members" / "s0" / "environment.json"
    began = json.loads(environment.read_text())
    environment.write_text(json.dumps(began | {"code": {"env": "tests.toys.ObservedReward#00000000"}}))
    record = run(tmp_path / "sweep", config, seeds=2, grid=(), chunk=2, warn=(warned := []).append)
    assert "s0: its env tests.toys.ObservedReward is not what it began with: other code" in warned.pop(0)
    assert len(warned) == 1 and "s1/checkpoints/resume: the checkpoint of update 4 is damaged" in warned[0]
    assert {member["status"] for member in record["members"]} == {"completed"}


# ------------------------------------------------------------------------------------------------- what it says


def test_settings_are_compared_by_interquartile_means(swept, capsys):
    assert main(["resume", str(swept), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [len(found[key]) for key in ("groups", "members")] == [4, 8]
    for group in found["groups"]:
        own = [m["valid"]["return_mean"] for m in found["members"] if m["setting"] == group["setting"]]
        member = next(m for m in found["members"] if m["setting"] == group["setting"])
        score = group["scores"]["valid return"]
        assert (score["iqm"], score["n"]) == (pytest.approx(np.mean(own)), 2)
        assert score["low"] <= score["iqm"] <= score["high"]
        assert group["baselines"] == {"random policy": {"test return": member["baselines"]["random"]["return_mean"]}}
        assert ("improvement" in score) == (group["setting"] != found["baseline"])
    best = [group["scores"]["valid return"]["iqm"] for group in found["groups"]]
    assert best == sorted(best, reverse=True)
    for name in ("sweep.svg", "curves.svg"):
        assert (swept / name).read_text().startswith("<?xml")
    for label in ("return in training", "return in evaluation", "environment steps"):
        assert label in (swept / "curves.svg").read_text()


def test_a_sweep_is_read_as_its_members(swept, capsys, tmp_path):
    assert main(["compare", str(swept), "--json"]) == 0
    sets = json.loads(capsys.readouterr().out)["groups"]
    assert len(sets) == 4
    assert main(["report", str(swept), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").is_file()
    capsys.readouterr()
    assert main(["diagnose", str(swept)]) == 2
    told = capsys.readouterr().err
    assert f"{swept}: a sweep of 8 runs, which `ppo-jax compare` and `ppo-jax report` take whole; " in told
    assert told.count("/members/") == 1
    name = next((swept / "members").iterdir()).name
    for command in ("diagnose", "resume", "eval"):
        assert main([command, str(swept / name)]) == 2
        told = capsys.readouterr().err
        assert told.endswith(f"; did you mean {swept / 'members' / name}\n") and "no run there" in told


def test_the_table_fits_and_says_how_to_go_on(swept, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["resume", str(swept)]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "4 settings × 2 seeds: 8 completed" in out and out.count("random policy") == 1
    assert "1 compiled in" in out and "a member" in out.splitlines()[-2] + out.splitlines()[-1]


def test_a_sweep_that_is_none(tmp_path, capsys):
    assert main(["sweep", "extract", str(tmp_path), "x", "--out", str(tmp_path / "y")]) == 2
    assert "no sweep there (no sweep.json)" in capsys.readouterr().err
    (tmp_path / "toy.toml").write_text(QUICK.to_toml())
    assert main(["sweep", str(tmp_path / "toy.toml"), "--run-dir", str(tmp_path)]) == 2
    assert "is in use by something else" in capsys.readouterr().err
    assert main(["sweep", str(tmp_path / "toy.toml"), "--chunk", "0", "--run-dir", str(tmp_path / "s")]) == 2
    assert "--chunk 0: at least one member" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damaged, message",
    [
        (b"", "is damaged: Input data was truncated"),
        (b'{"config": {', "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (b"[]", "is damaged: Expected `object`, got `array`"),
        ({"seeds": []}, "is damaged: Expected `array` of length >= 1 - at `$.seeds`"),
        ({"programs": None}, "is damaged: Expected `array`, got `null` - at `$.programs`"),
        ({"programs": []}, "is damaged: its programs have other members"),
        ({"members": [{"name": "../../run", "seed": 0, "setting": {}}]}, "is damaged: Expected `str` matching"),
        ({"config": {"ppo": {"gamma": 7}}}, "sweep.json: ppo.gamma: Expected"),
        ({"grid": {"gama": [0.9]}}, "sweep.json: --grid gama: unknown key 'gama'; did you mean gamma"),
    ],
    ids=lambda x: x[:4].hex() if isinstance(x, bytes) else "".join(x) if isinstance(x, dict) else "",
)
def test_a_damaged_sweep_is_called_so(swept, tmp_path, damaged, message, capsys):
    record = (swept / "sweep.json").read_text()
    content = damaged if isinstance(damaged, bytes) else json.dumps(json.loads(record) | damaged).encode()
    (tmp_path / "sweep.json").write_bytes(content)
    assert main(["resume", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert (tmp_path / "sweep.json").read_bytes() == content


def test_a_sweep_json_that_cannot_be_read_is_not_a_missing_one(tmp_path):
    (tmp_path / "sweep.json").mkdir()
    with pytest.raises(PPOJaxError, match=r"sweep.json: cannot be read: Is a directory"):
        sweep.read_plan(tmp_path)
    with pytest.raises(PPOJaxError, match=r"no sweep there \(no sweep.json\)"):
        sweep.read_plan(tmp_path / "nowhere")


def test_infinity_survives_the_file(tmp_path):
    plan = make_plan(QUICK.override({"max_grad_norm": float("inf")}), 1, ["clip_range_vf=inf,0.2"])
    assert type(plan).from_dict(json.loads(json.dumps(files.to_json(plan.to_dict())))) == plan


@pytest.mark.parametrize("name", ["../../run", "..", ".", "", "/etc", "s0/../s0"])
def test_nothing_outside_of_a_sweep_is_taken_out(swept, tmp_path, name, capsys):
    assert main(["sweep", "extract", str(swept), name, "--out", str(tmp_path / "out")]) == 2
    assert f"no member {name!r}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_sweep_has_one_writer(tmp_path, monkeypatch):
    """Held by the system: another process, or another open file of this one, is refused until it is let go."""
    with one_writer(tmp_path), pytest.raises(InUse):
        run(tmp_path, seeds=1, grid=())
    assert not sweep.holds_sweep(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sweep, "_claim", lambda *_: (_ for _ in ()).throw(Killed))
        run(tmp_path, seeds=1, grid=())
    with one_writer(tmp_path):
        pass


def test_lines_that_two_writers_left_are_kept_once(tmp_path):
    config = QUICK.override({"checkpoint_interval": 1})
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(runner, "test", lambda *_: (_ for _ in ()).throw(Killed))
        run(tmp_path / "sweep", config, seeds=1, grid=())
    names = [tmp_path / "sweep" / "members" / "s0" / name for name in ("metrics.jsonl", "eval.jsonl", "timing.jsonl")]
    before = [path.read_text().splitlines() for path in names]
    for path, rows in zip(names, before, strict=True):
        path.write_text("".join(f"{row}\n" for row in [*rows[:2], *rows[1:], *rows]))
    run(tmp_path / "sweep", config, seeds=1, grid=())
    assert [path.read_text().splitlines() for path in names] == before


@pytest.mark.slow
def test_sixteen_seeds_learn_the_same_side_by_side_as_alone(tmp_path):
    config = load_config("cartpole", {"total_timesteps": 100_000})
    together = run(tmp_path / "sweep", config, seeds=16, grid=(), chunk=16, side_by_side=True)
    returns = [member["test_last"]["return_mean"] for member in together["members"]]
    alone = run(tmp_path / "alone", config, seeds=16, grid=(), chunk=1)
    others = [member["test_last"]["return_mean"] for member in alone["members"]]
    spread = np.std(others) / np.sqrt(16) + 1.0
    assert abs(np.mean(returns) - np.mean(others)) < 3 * spread
