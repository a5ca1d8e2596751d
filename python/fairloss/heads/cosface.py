"""CosFace, or AM-Softmax: a margin taken off the target's cosine."""

from fairloss.heads.base import CosineHead, CosineOptions, Unpack


class CosFace(CosineHead):
    """``s (cos theta - m)``, default m = 0.35 (Wang et al., CVPR 2018, eq. 4).

    The same loss is AM-Softmax (Wang et al., IEEE SPL 2018), there with s = 30. Insightface's torch
    code has m = 0.40.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: m.
        options: see `CosineOptions`.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.35,
        **options: Unpack[CosineOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, margin, kind="cos", **options)
