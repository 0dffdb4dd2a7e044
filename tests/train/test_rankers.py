"""The two rankers learn, go on after a kill as if nothing had been, and write what sentence-transformers loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragtune.errors import TrainError
from ragtune.types import RankingList

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder
from ragtune.retrieve.cross_encoder import CrossEncoderReranker
from ragtune.train import rankers
from ragtune.train.rankers import RankerRun, Recipe, checkpoint_of, teacher_scores, train_embedder, train_reranker
from tiny_project import PLACES, THINGS, fact

RECIPE = Recipe(2e-3, epochs=4, batch=4, tokens=64)


class Killed(BaseException):
    """As a kill would, it passes everything by."""


def silent(run: RankerRun, left: float) -> None:
    assert left >= 0


@pytest.fixture(scope="module")
def lists() -> list[RankingList]:
    made = []
    for n, place in enumerate(PLACES):
        others = [fact(PLACES[(n + step) % len(PLACES)], THINGS[step]) for step in range(1, 4)]
        made.append(RankingList(f"Who built the {THINGS[0]} of {place}?", (fact(place, THINGS[0]), *others)))
    return made


def first_is_best(lists: list[RankingList], scores: list[list[float]]) -> float:
    return sum(own[0] == max(own) for own in scores) / len(lists)


def similarities(folder: Path, lists: list[RankingList]) -> list[list[float]]:
    embedder = SentenceTransformersEmbedder(folder)
    return [(embedder.embed_queries([each.question]) @ embedder.embed_documents(each.texts).T)[0].tolist() for each in lists]


def test_a_cross_encoder_made_of_an_embedder_learns_which_text_answers(tiny_embedder, lists, tmp_path):
    run = train_reranker(tiny_embedder, lists, tmp_path / "reranker", RECIPE, silent)
    assert run.step == run.steps == 12
    scores = teacher_scores(tmp_path / "reranker", lists)
    assert first_is_best(lists, scores) > 0.7
    served = CrossEncoderReranker(tmp_path / "reranker", fingerprint="x").score(lists[0].question, lists[0].texts)
    assert np.argsort(served).tolist() == np.argsort(scores[0]).tolist()


def test_an_embedder_learns_the_scores_that_it_is_given(tiny_embedder, lists, tmp_path):
    # The last text of each list is to be the best, which nothing in the words says.
    scores = [[0.0] * (len(each.texts) - 1) + [5.0] for each in lists]
    train_embedder(tiny_embedder, lists, scores, tmp_path / "embedder", RECIPE, silent)
    before, after = similarities(tiny_embedder, lists), similarities(tmp_path / "embedder", lists)
    gained = [own[-1] - max(own[:-1]) - (old[-1] - max(old[:-1])) for own, old in zip(after, before, strict=True)]
    assert np.mean(gained) > 0.05


def test_infonce_makes_the_answering_text_the_nearest(tiny_embedder, lists, tmp_path):
    train_embedder(tiny_embedder, lists, None, tmp_path / "embedder", RECIPE, silent)
    margin = [np.mean([own[0] - max(own[1:]) for own in similarities(folder, lists)]) for folder in (tiny_embedder, tmp_path / "embedder")]
    assert margin[1] > margin[0] + 0.02


def test_a_chunk_that_answers_two_questions_of_a_step_is_wrong_for_neither(tiny_embedder, lists, tmp_path):
    same = [RankingList(f"Tell of the {THINGS[0]} of {PLACES[0]}, please.", lists[0].texts), lists[0]]
    assert rankers._repeated(same, [0, 4]).nonzero().tolist() == [[0, 4], [1, 0]]
    assert not rankers._repeated(lists[:2], [0, 4]).any()
    run = train_embedder(tiny_embedder, same, None, tmp_path / "embedder", Recipe(2e-2, epochs=30, batch=2, tokens=64), silent)
    assert run.loss < 0.5  # below log 2, which two of the same text cannot fall under


def test_vectors_of_a_tuned_embedder_are_as_long_as_before_and_of_length_one(tiny_embedder, lists, tmp_path):
    train_embedder(tiny_embedder, lists, None, tmp_path / "embedder", RECIPE, silent)
    before, after = SentenceTransformersEmbedder(tiny_embedder), SentenceTransformersEmbedder(tmp_path / "embedder")
    assert (after.dimension, after.max_tokens) == (before.dimension, before.max_tokens)
    assert after.fingerprint != before.fingerprint
    np.testing.assert_allclose(np.linalg.norm(after.embed_documents([lists[0].question, lists[0].texts[0]]), axis=1), 1, rtol=1e-5)


def test_kept_weights_lie_between_those_before_and_those_tuned(tiny_embedder, lists, tmp_path):
    from safetensors.torch import load_file

    for keep in (0.0, 0.75):
        recipe = Recipe(2e-3, epochs=1, batch=4, tokens=64, keep=keep)
        train_embedder(tiny_embedder, lists, None, tmp_path / str(keep), recipe, silent)
    old, tuned, mixed = (load_file(folder / "model.safetensors") for folder in (tiny_embedder, tmp_path / "0.0", tmp_path / "0.75"))
    for name, value in mixed.items():
        np.testing.assert_allclose(value, 0.25 * tuned[name] + 0.75 * old[name], atol=1e-6)


@pytest.mark.parametrize("what", ["reranker", "embedder"])
def test_a_killed_run_ends_as_an_undisturbed_one(tiny_embedder, lists, tmp_path, monkeypatch, what):
    from safetensors.torch import load_file

    monkeypatch.setattr(rankers, "CHECKPOINT_EVERY_S", 0.0)
    steps: list[int] = []

    def train(output: Path, dies_at: int | None) -> RankerRun:
        def on_step(run: RankerRun, left: float) -> None:
            steps.append(run.step)
            if run.step == dies_at:
                raise Killed

        if what == "reranker":
            return train_reranker(tiny_embedder, lists, output, RECIPE, on_step)
        return train_embedder(tiny_embedder, lists, None, output, RECIPE, on_step)

    whole = train(tmp_path / "whole", None)
    with pytest.raises(Killed):
        train(tmp_path / "killed", 7)
    assert checkpoint_of(tmp_path / "killed").is_file()
    assert not (tmp_path / "killed").exists()
    steps.clear()
    resumed = train(tmp_path / "killed", None)
    assert steps[0] == 7  # the sixth was the last that was kept
    assert (resumed.step, resumed.loss) == (whole.step, pytest.approx(whole.loss, abs=1e-6))
    assert not checkpoint_of(tmp_path / "killed").exists()
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed")]
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name])


def test_a_checkpoint_of_other_settings_is_refused(tiny_embedder, lists, tmp_path, monkeypatch):
    monkeypatch.setattr(rankers, "CHECKPOINT_EVERY_S", 0.0)

    def dies(run: RankerRun, left: float) -> None:
        if run.step == 3:
            raise Killed

    with pytest.raises(Killed):
        train_embedder(tiny_embedder, lists, None, tmp_path / "embedder", RECIPE, dies)
    with pytest.raises(TrainError, match="other settings"):
        train_embedder(tiny_embedder, lists, None, tmp_path / "embedder", Recipe(1e-3, epochs=4, batch=4, tokens=64), silent)
