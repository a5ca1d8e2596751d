"""A survey of a data folder: what training would read, and what it would leave out."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fairloss.data.arrays import holds_arrays, read_arrays
from fairloss.data.face_images import check_pixels
from fairloss.data.image_folder import (
    Listing,
    check_readable,
    decode_files,
    image_name,
    is_dead_link,
    list_folder,
)
from fairloss.data.images import check_one_set
from fairloss.data.text_files import StrPath


@dataclass
class Survey:
    """The contents of a folder of arrays or of identity/image files.

    Attributes:
        counts: readable images of each identity, which may have none.
        unreadable: reasons by image, identity/image.
        dead_links: those of the unreadable images that are links to missing files.
        listing: what else a folder of files holds.
        memory: bytes of the pixels that training would keep in memory.
        refusal: the error with which training would stop; empty if it would not.
    """

    counts: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    dead_links: list[str] = field(default_factory=list)
    listing: Listing = field(default_factory=lambda: Listing({}, [], {}, Counter()))
    memory: int = 0
    refusal: str = ""

    @property
    def empty(self) -> list[str]:
        """Identities without a readable image."""
        return [name for name, count in self.counts.items() if not count]


def survey_images(
    folder: StrPath,
    image_size: tuple[int, int] = (112, 112),
    channels: int = 3,
    progress: Callable[[int, int], object] | None = None,
) -> Survey:
    """Decode all images of a folder as `read_images` does, without keeping them.

    Args:
        folder: of arrays or of identity/image files.
        image_size: (H, W) of training.
        channels: 1 for gray, 3 for RGB.
        progress: called as progress(done, total).
    """
    survey = Survey()
    try:
        if holds_arrays(folder):
            faces = read_arrays(folder, image_size, channels)
            counts = zip(faces.identities, faces.counts.tolist(), strict=True)
            survey.counts.update(dict(counts))
        else:
            check_one_set(Path(folder))
            _survey_files(Path(folder), survey, image_size, channels, progress)
        identities = len(survey.counts) - len(survey.empty)
        if identities == 1:
            survey.refusal = "expected at least two identities, got one"
    except (ValueError, OSError) as error:
        survey.refusal = str(error)
    return survey


def _survey_files(
    root: Path,
    survey: Survey,
    image_size: tuple[int, int],
    channels: int,
    progress: Callable[[int, int], object] | None,
) -> None:
    survey.listing = listing = list_folder(root)
    survey.counts.update(dict.fromkeys(listing.images, 0))
    survey.memory = check_pixels(len(listing.files), channels, image_size)
    for file, image in decode_files(listing.files, image_size, channels, progress):
        if isinstance(image, str):
            survey.unreadable[image_name(file)] = image
        else:
            survey.counts[file.parent.name] += 1
    survey.dead_links = [name for name in survey.unreadable if is_dead_link(root / name)]
    check_readable(root, listing, survey.counts.total())
