"""PerClass: margins by hand for every signal, their control, schedules and files."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fairloss import heads
from fairloss_ext import ClassStatistics, class_statistics


def statistics(variance=None, inter=None, count=(1, 10, 100)):
    unused = torch.full((len(count),), math.nan)
    return ClassStatistics(
        torch.tensor(count),
        unused[:, None].expand(-1, 4),
        unused,
        unused if variance is None else torch.tensor(variance),
        unused if inter is None else torch.tensor(inter),
        torch.full((len(count),), -1),
    )


def margins(*arguments, **options):
    return heads.PerClass(*arguments, **options).margins.tolist()


def test_a_tilt_by_count_is_by_hand():
    """ln n = 0, 2.3, 4.6: z = -1.2247, 0, 1.2247, of mean 1.2247 * 99 / 111 over the images."""
    z = math.sqrt(1.5)
    mean = z * 99 / 111
    expected = [0.45 + 0.1 * (each - mean) for each in (-z, 0, z)]
    actual = margins(3, 4, 0.45, counts=[1, 10, 100], tilt=0.1)
    assert actual == pytest.approx(expected, abs=1e-7)
    assert np.average(actual, weights=[1, 10, 100]) == pytest.approx(0.45, abs=1e-7)
    assert margins(3, 4, counts=[1, 10, 100]) == pytest.approx([0.35] * 3)


def test_z_is_clipped_at_2_and_is_0_without_an_image():
    """Ten classes of one image and one of 2: its z is sqrt(10) = 3.16 before it is clipped."""
    actual = margins(12, 4, 0.3, counts=[1] * 10 + [2, 0], tilt=0.1)
    low = -1 / math.sqrt(10)
    mean = (10 * low + 2 * 2) / 12
    expected = [0.3 + 0.1 * (z - mean) for z in [low] * 10 + [2, 0]]
    assert actual == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("by", "values", "z"),
    [
        ("variance", [9.0, 0.2, 0.4], [0, -1, 1]),  # one image has no variance
        ("nearest", [math.acos(0.2), math.acos(0.5), math.acos(0.8)], [-(1.5**0.5), 0, 1.5**0.5]),
    ],
)
def test_a_tilt_by_the_embeddings_begins_after_the_first_epoch(by, values, z):
    head = heads.PerClass(3, 4, 0.4, counts=[1, 10, 100], by=by, tilt=-0.1, kind="arc")
    assert head.margins.tolist() == pytest.approx([0.4] * 3)
    head.end_of_epoch(statistics(**{"inter" if by == "nearest" else by: values}))
    mean = np.average(z, weights=[1, 10, 100])
    expected = [0.4 - 0.1 * (each - mean) for each in z]
    assert head.margins.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("by", ["count", "variance", "nearest"])
def test_the_control_has_the_same_spread_and_the_same_mean_on_other_classes(by):
    counts = [2, 3, 5, 8, 13, 21, 34, 55]
    labels = torch.arange(8).repeat_interleave(torch.tensor(counts))
    measured = class_statistics(torch.randn(len(labels), 4), labels, 8)
    values = []
    for seed in (None, 0, 0, 1):
        head = heads.PerClass(8, 4, 0.4, counts=counts, by=by, tilt=0.1, shuffled=seed)
        head.end_of_epoch(measured)
        values.append(head.margins.double().numpy())
        assert np.average(values[-1], weights=counts) == pytest.approx(0.4, abs=1e-6)
        spread = np.sort(values[-1]) - values[-1].min()
        np.testing.assert_allclose(spread, np.sort(values[0]) - values[0].min(), atol=1e-6)
    plain, first, again, other = values
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - plain).max() > 0.01
    assert np.abs(first - other).max() > 0.01


def test_a_schedule_is_linear_in_the_fraction_of_the_epochs():
    schedule = [[0, 0.15], [0.5, 0.55], [0.75, 0.45]]
    head = heads.PerClass(2, 4, counts=[1, 9], tilt=0.1, schedule=schedule, epochs=8)
    offsets = head.margins - 0.15
    assert offsets[1] - offsets[0] == pytest.approx(0.2)
    for level in (0.15, 0.25, 0.35, 0.45, 0.55, 0.5, 0.45, 0.45):
        torch.testing.assert_close(head.margins - offsets, torch.full((2,), level))
        state = head.state_dict()
        head = heads.PerClass(2, 4, counts=[1, 9], tilt=0.1, schedule=schedule, epochs=8)
        head.load_state_dict(state)  # a resumed run counts on
        head.end_of_epoch(statistics(count=(1, 9)))


def test_given_margins_are_taken_as_they_are_and_shifted_by_a_level():
    given = [0.1, 0.25, 0.5]
    options = {"counts": [3, 2, 5], "margins": given}
    assert heads.PerClass(3, 4, **options).margins.equal(torch.tensor(given))
    shifted = np.array(given) - np.average(given, weights=[3, 2, 5]) + 0.4
    assert margins(3, 4, 0.4, **options) == pytest.approx(shifted.tolist())
    head = heads.PerClass(3, 4, **options)
    head.end_of_epoch(statistics())
    assert head.margins.equal(torch.tensor(given))
    resumed = heads.PerClass(3, 4, counts=[3, 2, 5], margins=[0.3, 0.4, 0.9])
    resumed.load_state_dict(head.state_dict())  # the file was changed since
    resumed.end_of_epoch(statistics())
    assert resumed.margins.equal(torch.tensor(given))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counts": [1, 2]}, r"counts: expected shape \(3,\), got \(2,\)"),
        ({"counts": [1, -2, 3]}, "counts: expected numbers of at least 0, got -2.0"),
        ({"by": "size"}, "by: expected one of .*'nearest'.*, got 'size'"),
        ({"kind": "sphere"}, "kind: expected one of"),
        ({"tilt": math.inf}, "tilt: expected a finite number, got inf"),
        ({"margin": math.nan}, "margin: expected a finite number, got nan"),
        ({"shuffled": -1}, "shuffled: expected an integer of at least 0, got -1"),
        ({"margins": [1.0, 2.0]}, r"margins: expected shape \(3,\), got \(2,\)"),
        ({"margins": [1.0, 2.0, 3.0], "tilt": 0.1}, "tilt: expected 0 beside margins, got 0.1"),
        ({"schedule": []}, r"schedule: expected a list of pairs .*, got \[\]"),
        ({"schedule": [[0, 0.1], [1]]}, r"schedule\[1\]: expected a pair .*, got \[1\]"),
        ({"schedule": [[1.2, 0.1]]}, r"schedule\[0\]\[0\]: expected a number in \[0, 1\], got 1.2"),
        ({"schedule": [[0.5, 0.1], [0.5, 0.2]]}, "schedule: expected ascending fractions, got"),
        ({"schedule": [[0, 0.1]]}, "epochs: expected an integer of at least 1, got None"),
        ({"schedule": [[0, 0.1]], "epochs": 3, "margin": 0.2}, "margin: expected none beside a"),
    ],
)
def test_settings_that_do_not_fit_are_named(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        heads.PerClass(3, 4, **({"counts": [1, 2, 3]} | options))


def test_statistics_of_another_set_are_refused():
    head = heads.PerClass(4, 4, counts=[1] * 4, schedule=[[0, 0.1]], epochs=2)
    with pytest.raises(ValueError, match="statistics: expected 4 classes, got 3"):
        head.end_of_epoch(statistics())
    assert head.epoch == 0
