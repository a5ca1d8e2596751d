from __future__ import annotations

import numpy as np
import pytest

from fairloss.agent import ACTIONS, GroupState, MarginGrid

GRID = MarginGrid()


def test_grid_has_ten_legal_moves():
    assert len(GRID) == 4
    assert ACTIONS == ("lower", "keep", "raise")
    expected = [[0, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0]]
    np.testing.assert_array_equal(GRID.legal, np.array(expected, bool))


def test_grid_with_one_margin_can_only_keep():
    np.testing.assert_array_equal(MarginGrid((0.5,)).legal, [[False, True, False]])


@pytest.mark.parametrize("values", [(), (0.3, 0.2), (0.2, 0.2), (0.1, float("nan")), ((0.1, 0.2),)])
def test_grid_rejects_values_that_do_not_ascend(values):
    with pytest.raises(ValueError, match="values"):
        MarginGrid(values)


def test_grid_equality_ignores_the_container():
    assert MarginGrid([0.1, 0.2]) == MarginGrid((0.1, 0.2))


def test_index_survives_float32_and_rejects_margins_between():
    margins = np.array([0.45, 0.15, 0.35, 0.25], np.float32)
    np.testing.assert_array_equal(GRID.index(margins), [3, 0, 2, 1])
    for off in (0.3, 0.1502, 0.05, np.nan):
        with pytest.raises(ValueError, match="margins"):
            GRID.index([0.15, off])


def test_step_moves_one_place_and_refuses_the_ends():
    np.testing.assert_array_equal(GRID.step([0, 1, 2, 3], [2, 1, 0, 0]), [1, 1, 1, 2])
    with pytest.raises(ValueError, match="action: expected a move .*, got 'lower'"):
        GRID.step([1, 0], [0, 0])
    with pytest.raises(ValueError, match="action: expected a move .*, got 'raise'"):
        GRID.step([3], [2])
    with pytest.raises(ValueError, match="action"):
        GRID.step([1], [3])
    with pytest.raises(ValueError, match="index"):
        GRID.step([4], [1])


def test_default_grid_has_36_states_and_90_legal_pairs():
    state = GroupState([1, 2, 3])
    assert state.num_states == 36
    assert state.legal.shape == (36, 3)
    assert state.legal.sum() == 90


def test_encode_follows_the_formula():
    # Terciles of 1..9 put three classes in each bin; variance runs the other way round.
    counts = np.arange(2, 11)
    variance = np.linspace(0.9, 0.1, 9)
    margins = np.array([0.15, 0.25, 0.35, 0.45, 0.15, 0.25, 0.35, 0.45, 0.15])
    state = GroupState(counts).encode(variance, margins)
    count_bin = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    variance_bin = [2, 2, 2, 1, 1, 1, 0, 0, 0]
    margin = [0, 1, 2, 3, 0, 1, 2, 3, 0]
    expected = [
        (n * 3 + v) * 4 + m for n, v, m in zip(count_bin, variance_bin, margin, strict=True)
    ]
    np.testing.assert_array_equal(state, expected)
    assert state.dtype == np.int64


def test_decode_inverts_the_formula():
    state = GroupState([1, 2, 3], MarginGrid((0.1, 0.2)))
    for n in range(3):
        for v in range(3):
            for m in range(2):
                decoded = state.decode((n * 3 + v) * 2 + m)
                assert tuple(int(part) for part in decoded) == (n, v, m)
    with pytest.raises(ValueError, match="state"):
        state.decode([18])


def test_describe():
    state = GroupState([1, 2, 3])
    assert state.describe(2) == "few images, low variance, margin 0.35"
    assert state.describe(35) == "many images, high variance, margin 0.45"


def test_ties_of_counts_share_a_bin():
    # A tie fills bin 0 however long it is; once it reaches the second cut, bin 1 is empty.
    np.testing.assert_array_equal(GroupState([5, 5, 5, 6, 7, 8]).count_bins, [0, 0, 0, 1, 2, 2])
    np.testing.assert_array_equal(GroupState([5, 5, 5, 5, 7, 8]).count_bins, [0, 0, 0, 0, 2, 2])
    np.testing.assert_array_equal(GroupState([4, 4, 4]).count_bins, [0, 0, 0])


def test_fixed_count_cuts():
    state = GroupState([17, 18, 19, 33, 34], count_cuts=(18, 33))
    np.testing.assert_array_equal(state.count_bins, [0, 0, 1, 1, 2])
    with pytest.raises(ValueError, match="count_cuts"):
        GroupState([1], count_cuts=(33, 18))


def test_empty_classes_move_no_tercile():
    full = GroupState([3, 4, 5])
    padded = GroupState([0, 3, 0, 4, 5, 0])
    assert padded.count_cuts == full.count_cuts
    np.testing.assert_array_equal(padded.count_bins, [0, 0, 0, 1, 2, 0])
    np.testing.assert_array_equal(padded.counts == 0, [True, False, True, False, False, True])
    nan = np.nan
    np.testing.assert_array_equal(
        padded.variance_bins([nan, 0.3, nan, 0.1, 0.2, nan]), [0, 2, 0, 0, 1, 0]
    )


def test_variance_terciles_are_taken_anew_each_time():
    state = GroupState([2, 3, 4])
    np.testing.assert_array_equal(state.variance_bins([0.3, 0.2, 0.1]), [2, 1, 0])
    np.testing.assert_array_equal(state.variance_bins([0.01, 0.02, 0.03]), [0, 1, 2])


def test_singletons_and_nan_are_the_lowest_variance():
    # Four of seven are undefined or zero: one tie, all in bin 0 whatever number they came with.
    state = GroupState([1, 1, 5, 5, 5, 5, 5])
    bins = state.variance_bins([0.9, np.nan, np.nan, -1e-9, 0.1, 0.2, 0.3])
    np.testing.assert_array_equal(bins, [0, 0, 0, 0, 1, 2, 2])
    # Rounding does not split the tie.
    bins = GroupState([5] * 6).variance_bins([-1e-9, -1e-9, 0.0, 0.0, 0.1, 0.2])
    np.testing.assert_array_equal(bins, [0, 0, 0, 0, 2, 2])


@pytest.mark.parametrize("counts", [[], [0, 0], [-1, 2], [1.5, 2.0], [[1, 2]]])
def test_bad_counts(counts):
    with pytest.raises(ValueError, match="counts"):
        GroupState(counts)


def test_bad_variance_and_margins():
    state = GroupState([2, 3])
    with pytest.raises(ValueError, match="variance"):
        state.variance_bins([0.1])
    with pytest.raises(ValueError, match="variance"):
        state.variance_bins([0.1, np.inf])
    with pytest.raises(ValueError, match="margins: expected shape"):
        state.encode([0.1, 0.2], [0.15])
