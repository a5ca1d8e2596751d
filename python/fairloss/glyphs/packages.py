"""Font packages of Debian, fetched by name and unpacked without being installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from fairloss.data.cache import cache_folder
from fairloss.io.digest import sha256

Progress = Callable[[str, int, int], object]  # (what, done, total)

# Free software in Debian main; each package's copyright file is kept beside its fonts.
_LITE = """
wqy-zenhei wqy-microhei arphic-gbsn00lp arphic-gkai00mp arphic-bkai00mp arphic-bsmi00lp
ipafont-gothic ipafont-mincho kouzan-mouhitsu seto konatu dejima-mincho motoya-l-cedar
motoya-l-maruberi smiley-sans mona vlgothic misaki sawarabi-gothic sawarabi-mincho aoyagi-kouzan-t
horai-umefont droid-fallback
"""
_MORE = """
ipaexfont-gothic ipaexfont-mincho umeplus hanazono aoyagi-soseki yozvox-yozfont-standard-kana
arphic-ukai arphic-uming cwtex-kai cwtex-ming noto-cjk oradano-mincho-gsrr monapo kiloji dotgothic16
reggae train lxgw-wenkai morisawa-bizud-gothic morisawa-bizud-mincho ipamj-mincho cns11643-kai
baekmuk unfonts-core nanum ricty-diminished babelstone-han
"""
LITE = tuple(f"fonts-{name}" for name in _LITE.split())
"""23 packages, 72 MB to fetch."""
FULL = LITE + tuple(f"fonts-{name}" for name in _MORE.split())
"""50 packages, 439 MB to fetch."""

FONT_SUFFIXES = frozenset({".ttf", ".otf", ".ttc"})
RECORD = "package.json"
OTHERWISE = (
    "Fetch them where apt works and copy that cache, or use fonts already on disk: --fonts FOLDER"
)


def fetch_fonts(
    packages: Sequence[str],
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Folders with the fonts of each package, fetched with apt-get when they are not cached.

    Neither root nor an installation is needed. Each folder, `fonts/<package>` in the cache, has the
    font files, the package's copyright file and package.json (its version and SHA-256).

    Args:
        packages: names of Debian packages.
        cache: default the environment variable FAIRLOSS_CACHE, or else ~/.cache/fairloss.
        progress: called as progress("fetch fonts", done, total).

    Raises:
        RuntimeError: apt-get or dpkg is missing or failed; the message says what to do instead.
    """
    root = cache_folder(cache) / "fonts"
    folders = [root / package for package in packages]
    missing = [folder.name for folder in folders if not (folder / RECORD).is_file()]
    fetched = len(packages) - len(missing)
    if missing:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".") as scratch:
            _download(missing, Path(scratch), root / ".apt", fetched, len(packages), progress)
            for archive in sorted(Path(scratch).glob("*.deb")):
                _unpack(archive, root)
    absent = [folder.name for folder in folders if not (folder / RECORD).is_file()]
    if absent:
        raise RuntimeError(f"apt-get did not bring {', '.join(absent)}. {OTHERWISE}")
    if progress is not None:
        progress("fetch fonts", len(packages), len(packages))
    return folders


def _download(
    packages: list[str],
    folder: Path,
    private: Path,
    done: int,
    total: int,
    progress: Progress | None,
) -> None:
    """Archives of the packages into `folder`; with package lists of our own if it needs them."""

    def report(line: str) -> None:
        nonlocal done
        done += line.startswith("Get:")
        if progress is not None:
            progress("fetch fonts", min(done, total), total)

    report("")
    command = ["apt-get", "--quiet", "download", *packages]
    code, said = _run(command, folder, report)
    if code and "Unable to locate package" in said:
        # No lists, as in most containers: fetch them to where no root is needed.
        own = ["-o", f"Dir::State={private / 'state'}", "-o", f"Dir::Cache={private / 'cache'}"]
        for place in ("state/lists/partial", "cache/archives/partial"):
            (private / place).mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "--quiet", "update", *own], folder, lambda line: None)
        code, said = _run([*command, *own], folder, report)
    if code:
        told = "\n".join(line for line in said.splitlines() if line.startswith("E:"))
        raise RuntimeError(f"could not fetch fonts. {OTHERWISE}\napt-get said:\n{told or said}")


def _unpack(archive: Path, root: Path) -> None:
    """The fonts of one archive as `root/<package>`, which appears whole."""
    scratch = archive.with_suffix("")
    scratch.mkdir()
    _checked(["dpkg", "-x", str(archive), str(scratch / "all")])
    fields = _checked(["dpkg-deb", "-W", "--showformat", "${Package}\n${Version}", str(archive)])
    package, version = fields.splitlines()
    kept = scratch / "kept"
    kept.mkdir()
    files = [path for path in (scratch / "all").rglob("*") if not path.is_symlink()]
    fonts = [path for path in files if path.suffix.lower() in FONT_SUFFIXES]
    for file in [*fonts, scratch / "all/usr/share/doc" / package / "copyright"]:
        shutil.copyfile(file, kept / file.name)
    record = {"package": package, "version": version, "sha256": sha256(archive)}
    (kept / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    os.replace(kept, root / package)


def _checked(command: list[str]) -> str:
    code, said = _run(command, None, lambda line: None)
    if code:
        raise RuntimeError(f"{command[0]} failed. {OTHERWISE}\n{said}")
    return said


def _run(
    command: list[str], folder: Path | None, each_line: Callable[[str], None]
) -> tuple[int, str]:
    """Exit code and all it printed; `each_line` is called while it runs."""
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except FileNotFoundError as error:
        raise RuntimeError(f"no {command[0]} on this machine. {OTHERWISE}") from error
    said = []
    with process:
        for line in process.stdout or ():
            said.append(line)
            each_line(line)
    return process.returncode, "".join(said)
