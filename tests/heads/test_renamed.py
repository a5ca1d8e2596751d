"""Old names of keywords and attributes of heads."""

from __future__ import annotations

import pytest
import torch

from fairloss import heads


@pytest.mark.parametrize("head", [heads.AdaptiveFace, heads.MagFace])
def test_the_old_keyword_warns_and_both_are_refused(head):
    with pytest.warns(DeprecationWarning, match="regulariser was renamed to regularizer"):
        assert head(7, 5, regulariser=2.0).regularizer == 2
    with pytest.raises(TypeError) as raised:
        head(7, 5, regulariser=2.0, regularizer=3.0)
    message = "regularizer: expected it or its old name regulariser, got both"
    assert str(raised.value) == message


@pytest.mark.parametrize("head", [heads.AdaptiveFace, heads.MagFace])
def test_the_old_attribute_reads_and_sets_the_new_one(head):
    loss = head(7, 5)
    with pytest.warns(DeprecationWarning, match=f"{head.__name__}.regulariser was renamed to"):
        loss.regulariser = 3.0
    assert loss.regularizer == 3
    with pytest.warns(DeprecationWarning, match="was renamed to regularizer"):
        assert loss.regulariser == 3


def test_old_members_return_the_new_ones():
    loss = heads.SphereFace(7, 5)
    with pytest.warns(DeprecationWarning, match="LSoftmax.class_rows was renamed to class_weights"):
        rows = loss.class_rows(torch.float64)
    assert torch.equal(rows, loss.class_weights(torch.float64))
    with pytest.warns(DeprecationWarning, match="UniformFace.CLOSEST was renamed to MIN_DISTANCE"):
        assert heads.UniformFace.CLOSEST == heads.UniformFace.MIN_DISTANCE
