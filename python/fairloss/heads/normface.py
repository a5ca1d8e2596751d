"""NormFace: softmax over scaled cosines, no margin."""

from fairloss.heads.base import CosineHead, CosineOptions, Unpack


class NormFace(CosineHead):
    """``s cos theta``: no margin (Wang et al., ACM MM 2017). On small sets s = 20 beats 64.

    Args:
        num_classes: C.
        embedding_size: D.
        learn_scale: make `scale` a parameter, as the paper also does.
        options: see `CosineOptions`.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        learn_scale: bool = False,
        **options: Unpack[CosineOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, 0.0, kind="cos", **options)
        if learn_scale:
            self.register_state("scale", self._first_values["scale"], learned=True)
