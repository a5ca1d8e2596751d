"""MegaFace, by hand, against brute force, with planted answers, and over processes."""

from __future__ import annotations

import json
import socket

import numpy as np
import pytest
import torch
from megaface_cases import random_challenge
from torch import distributed, multiprocessing

from fairloss.data import Cmc, planted_megaface, read_cmc, write_cmc, write_planted
from fairloss.data.cmc import cmc_name
from fairloss.evaluation import evaluate_megaface, replace_noisy
from fairloss.io.atomic import FormatError


def unit_vectors(*degrees):
    """Unit vectors in the plane."""
    angle = np.radians(degrees)
    return np.stack((np.cos(angle), np.sin(angle)), axis=1).astype(np.float32)


def test_trials_by_hand():
    # Ann at 0, 20 and 30 degrees, Bo at 180 and 220, Cy alone at 90.
    probes = unit_vectors(0, 20, 30, 180, 220, 90)
    identities = ["Ann", "Ann", "Ann", "Bo", "Bo", "Cy"]
    result = evaluate_megaface(probes, identities, unit_vectors(15, 200, 300, 95))
    assert len(result.rank) == 3 * 2 + 2
    by_trial = {
        # (angle to the mate, closer distractors): 15 is closer to 0 than 20 and 30 are, closer to
        # 20 than 30 is, but not closer to 30 than 20 is
        "Ann": [(20, 1), (30, 1), (20, 1), (10, 1), (30, 1), (10, 0)],
        # probe 180: 200 is closer than 220; probe 220: 200 is closer than 180
        "Bo": [(40, 1), (40, 1)],
    }
    expected = sorted(by_trial["Ann"] + by_trial["Bo"])
    angles = np.degrees(np.arccos(result.score.clip(-1, 1))).round().astype(int)
    assert sorted(zip(angles.tolist(), result.rank.tolist(), strict=True)) == expected
    assert result.recall().tolist() == [1 / 8, 1, 1, 1, 1]
    # Cy is a probe of impostor pairs: 90 and 95 are the closest of all 24
    assert (result.probes, result.distractors, result.impostors) == (6, 4, 24)
    highest = np.degrees(np.arccos(result.impostor[:5].clip(-1, 1)))
    np.testing.assert_allclose(highest, [5, 5, 15, 15, 20], atol=0.05)
    assert result.tar_at(1 / 24) == pytest.approx(0)  # one impostor: mates above cos 5
    assert result.tar_at(3 / 24) == pytest.approx(2 / 8)  # mates within 15 degrees: the pair at 10
    assert result.tar_at(0.9 / 24) is None
    fpr, tpr = result.roc()
    assert tpr[fpr <= 3 / 24][-1] == pytest.approx(2 / 8)


def test_ties_are_hits():
    # Axes and the 3-4-5 triangle: every cosine is exact.
    probes = np.array([[1, 0, 0], [3, 4, 0]], dtype=np.float32)
    result = evaluate_megaface(
        probes, [0, 0], np.array([[3, 0, 4], [0, 0, 2], [5, 0, 0]], dtype=np.float32)
    )
    assert sorted(result.rank.tolist()) == [0, 1]  # (1,0,0) finds itself; 0.6 against 0.6 is a hit
    same = evaluate_megaface(np.ones((4, 3)), [0, 0, 1, 1], np.ones((7, 3)))
    assert same.rank.tolist() == [0] * 4
    assert same.tar_at(1 / 28) == 0.0  # all scores equal: none is above an impostor's


def brute_force(features, identities, rows, closer):
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, rows)]
    ranks = []
    for mate in range(len(identities)):
        for probe in range(len(identities)):
            if mate != probe and identities[mate] == identities[probe]:
                ranks.append(closer(unit[0][probe], unit[0][mate], unit[1]))
    return sorted(ranks)


def test_ranks_agree_with_cosine_and_euclidean_distance():
    features, identities, rows = random_challenge()
    result = sorted(evaluate_megaface(features, identities, rows).rank.tolist())
    wide = [x.astype(np.float64) for x in (features, rows)]
    cosine = brute_force(wide[0], identities, wide[1], lambda p, m, d: int((d @ p > m @ p).sum()))
    euclid = brute_force(
        wide[0],
        identities,
        wide[1],
        lambda p, m, d: int((((d - p) ** 2).sum(1) < ((m - p) ** 2).sum()).sum()),
    )
    assert result == cosine == euclid
    assert result[-1] > 20


def test_chunks_and_memory_maps_change_nothing(monkeypatch, tmp_path):
    features, identities, rows = random_challenge()
    whole = evaluate_megaface(features, identities, rows)
    monkeypatch.setattr("fairloss.evaluation.megaface.CHUNK", 64)
    np.save(tmp_path / "rows.npy", rows)
    result = evaluate_megaface(features, identities, np.load(tmp_path / "rows.npy", mmap_mode="r"))
    np.testing.assert_array_equal(result.rank, whole.rank)
    np.testing.assert_array_equal(result.impostor, whole.impostor)
    wide = evaluate_megaface(features, identities, rows.astype(np.float64))
    np.testing.assert_array_equal(wide.rank, whole.rank)


def test_full_roc_agrees_with_counting():
    features, identities, rows = random_challenge()
    result = evaluate_megaface(features, identities, rows)
    assert len(result.impostor) == result.impostors  # small: all are recorded
    fpr, tpr = result.roc()
    for point in (0, 3, 100, len(fpr) - 1):
        threshold = np.unique(result.impostor)[::-1][point]
        assert fpr[point] == pytest.approx((result.impostor > threshold).mean())
        assert tpr[point] == pytest.approx((result.score > threshold).mean())
    for far in (0.001, 0.05):
        lowest = np.sort(result.impostor)[::-1][int(far * result.impostors)]
        assert result.tar_at(far) == pytest.approx((result.score > lowest).mean())


def test_excluded_distractors_are_infinitely_far_but_counted():
    features, identities, rows = random_challenge()
    noisy = [3, 5, 699]
    result = evaluate_megaface(features, identities, rows, excluded=noisy)
    clean = evaluate_megaface(features, identities, np.delete(rows, noisy, axis=0))
    np.testing.assert_array_equal(result.rank, clean.rank)
    assert result.distractors == 700
    assert np.isneginf(result.impostor[-40 * 3 :]).all()
    # insightface's way: one more dimension, 100 for the noisy, by Euclidean distance
    assert result.impostors == 40 * 700


def test_noisy_probes_become_the_mean_of_their_identity():
    features = np.array([[2, 0, 0], [0, 3, 0], [0, 0, 9], [1, 1, 1]], dtype=np.float32)
    result = replace_noisy(features, [0, 0, 0, 1], [False, False, True, False])
    np.testing.assert_allclose(result[2], [2**-0.5, 2**-0.5, 0], atol=2e-3)
    assert np.linalg.norm(result[2]) == pytest.approx(1)
    np.testing.assert_allclose(result[:2], np.eye(3)[:2])
    with pytest.raises(ValueError, match="noisy: .*none for row 3"):
        replace_noisy(features, [0, 0, 0, 1], [False, False, False, True])


@pytest.mark.parametrize(("identities", "probes", "distractors"), [(3, 7, 60), (6, 64, 900)])
def test_planted_answers(identities, probes, distractors, tmp_path):
    plan = planted_megaface(identities, probes, distractors, dimension=40)
    rows = np.concatenate(list(plan.rows()))
    result = evaluate_megaface(plan.probes, plan.identities, rows)
    for rank in (0, 1, 2, 4, 12):
        assert result.recall()[min(rank, distractors)] == pytest.approx(plan.recall(rank))
    assert 0 < plan.recall() < 1
    total = result.impostors
    seen = set()
    for allowed in (1, plan.planted[:, 0].sum() + 1, plan.planted.sum() + 1):
        seen.add(plan.tar(allowed / total))
        assert result.tar_at(allowed / total) == pytest.approx(plan.tar(allowed / total))
    assert len(seen) == 3
    write_planted(tmp_path, plan)
    np.testing.assert_array_equal(np.load(tmp_path / "megaface.npy"), rows)


def test_planted_by_hand():
    plan = planted_megaface(2, 4, 30, dimension=20)
    # probes 0..3 have 0, 3, 0, 0 planted: of the 3 one at 0.9 and two at 0.7. Probe 1 is of
    # identity 0, whose images have cosine 0.8: only the one at 0.9 is closer.
    assert plan.closer().tolist() == [0, 1, 0, 0]
    assert plan.recall() == 3 / 4
    result = evaluate_megaface(plan.probes, plan.identities, np.concatenate(list(plan.rows())))
    assert sorted(result.rank.tolist()) == [0, 0, 0, 1]
    with pytest.raises(ValueError, match="distractors: expected at least 3"):
        planted_megaface(2, 4, 2, dimension=20)
    with pytest.raises(ValueError, match="dimension: expected more than 4, got 4"):
        planted_megaface(2, 4, 30, dimension=4)


def test_cmc_file_round_trip(tmp_path):
    result = evaluate_megaface(*random_challenge())
    path = tmp_path / cmc_name("fair", 700)
    write_cmc(path, result.recall(), *result.roc())
    value = json.loads(path.read_text(encoding="utf-8"))
    assert value["cmc"][0][:3] == [0, 1, 2]
    assert len(value["cmc"][1]) == 701
    again = read_cmc(path)
    assert again.rank_1() == result.recall()[0]
    np.testing.assert_array_equal(again.fpr, result.roc()[0])
    curve = Cmc(np.zeros(1), np.zeros(1), np.array([0, 1e-6, 1e-4]), np.array([0, 0.2, 0.8]))
    assert curve.tpr_at(1e-5) == pytest.approx(0.5)  # linear in log FPR
    with pytest.raises(ValueError, match="fpr: expected a rate within the measured curve"):
        curve.tpr_at(1e-7)
    curves = (
        '"x"',
        '[[0], ["x"]]',
        '[["0"], [1]]',
        "[[0], [true]]",
        "[[0], [1, 2]]",
        "[[[0]], [[1]]]",
        "[[], []]",
        "[[1, 0], [0, 1]]",
        "[[0], [NaN]]",
        "[[0], [1e999]]",
        f"[[0], [{10**400}]]",
    )
    whole = '{"cmc": [[0], [1]], "roc": [[0], [1]]}'
    for wrong in ("[]", "{}", *(whole.replace("[[0], [1]]", curve, 1) for curve in curves)):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(FormatError, match=str(path)):
            read_cmc(path)


def part_of_the_gallery(rank, world, port, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    features, identities, rows = random_challenge()
    shard = np.array_split(rows, [123])[rank]  # uneven shards
    result = evaluate_megaface(features, identities, shard)
    np.savez(
        folder / f"{rank}.npz", rank=result.rank, impostor=result.impostor, n=result.distractors
    )
    distributed.destroy_process_group()


def test_shards_over_processes_add_up_exactly(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(part_of_the_gallery, (2, port, tmp_path), nprocs=2)
    whole = evaluate_megaface(*random_challenge())
    for rank in range(2):
        with np.load(tmp_path / f"{rank}.npz") as result:
            np.testing.assert_array_equal(result["rank"], whole.rank)
            np.testing.assert_array_equal(result["impostor"], whole.impostor)
            assert result["n"] == 700
