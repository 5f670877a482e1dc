"""How results of answering are shown: what was asked of how many queries."""

from __future__ import annotations

from ppo_jax.proving.results import AnswerResults


def judged(mrr: float, n_queries: int, **more: object) -> dict:
    summary = {"mrr": mrr, "hits@1": mrr, "n_queries": n_queries, "of_queries": 5626, "candidates": 2968.0}
    return {"answers": summary | {"protocol": "answers"} | more}


def test_a_baseline_on_a_sample_says_so():
    trained = judged(0.5, 5626, answered=9001 / 11252)
    sampled = judged(0.75, 250, answered=0.9, searches=500, given_up=3, protocol="answers, fewest steps")
    baselines = {"shortest_proof": sampled, "rules": judged(0.625, 5626)}
    verdict = AnswerResults().verdict(trained, baselines)
    assert "shortest proof on 250 triples 0.750, rules 0.625" in verdict
    rows = AnswerResults().rows({"test": trained, "test_last": trained, "baselines": baselines})
    protocol, found, searched = AnswerResults().notes(rows)
    assert protocol.startswith("answers; all 5,626 triples")
    assert found == (
        "found: the right answer is proved by the policy for 9,001 of 11,252 queries, not for 2,251; found by "
        "breadth-first search for 450 of 500 queries, not for 47, given up for 3"
    )
    assert searched == (
        "shortest proof: answers, fewest steps; 250 of 5,626 triples; 3 of 500 searches given up, what they did not "
        "find counts as not derived"
    )
