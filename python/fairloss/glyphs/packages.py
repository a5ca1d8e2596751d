"""Font packages of Debian, fetched by name and unpacked without being installed."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from fairloss.data.cache import cache_folder
from fairloss.io.digest import sha256
from fairloss.progress import Progress, no_progress

# Free software in Debian main; each package's copyright file is copied beside its fonts.
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
HINT = (
    "Fetch them where apt works and copy that cache, or use fonts already on disk: --fonts FOLDER"
)


def fetch_fonts(
    packages: Sequence[str],
    cache: str | os.PathLike[str] | None = None,
    progress: Progress = no_progress,
) -> list[Path]:
    """Return folders with the fonts of each package, fetched with apt-get when they are not cached.

    Neither root nor an installation is needed. Each folder, `fonts/<package>` in the cache, has the
    font files, the package's copyright file and package.json (its version and SHA-256).

    Args:
        packages: names of Debian packages.
        cache: default the environment variable FAIRLOSS_CACHE, or else ~/.cache/fairloss.
        progress: called as progress("fetch fonts", done, total).

    Raises:
        RuntimeError: apt-get or dpkg is missing or failed; the message names alternatives.
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
        raise RuntimeError(f"apt-get did not bring {', '.join(absent)}. {HINT}")
    progress("fetch fonts", len(packages), len(packages))
    return folders


def _download(
    packages: list[str],
    folder: Path,
    private: Path,
    done: int,
    total: int,
    progress: Progress,
) -> None:
    """Download archives into `folder`; fetch package lists into `private` if there are none."""

    def report(line: str) -> None:
        nonlocal done
        done += line.startswith("Get:")
        progress("fetch fonts", min(done, total), total)

    report("")
    command = ["apt-get", "--quiet", "download", *packages]
    code, output = _run(command, folder, report)
    if code and "Unable to locate package" in output:
        # No lists, as in most containers: fetch them to a folder that does not need root.
        options = ["-o", f"Dir::State={private / 'state'}", "-o", f"Dir::Cache={private / 'cache'}"]
        for part in ("state/lists/partial", "cache/archives/partial"):
            (private / part).mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "--quiet", "update", *options], folder, lambda line: None)
        code, output = _run([*command, *options], folder, report)
    if code:
        errors = "\n".join(line for line in output.split("\n") if line.startswith("E:"))
        raise RuntimeError(f"could not fetch fonts. {HINT}\napt-get:\n{errors or output}")


def _unpack(archive: Path, root: Path) -> None:
    """Move the fonts of one archive to `root/<package>` in one atomic step."""
    scratch = archive.with_suffix("")
    scratch.mkdir()
    _checked(["dpkg", "-x", str(archive), str(scratch / "all")])
    fields = _checked(["dpkg-deb", "-W", "--showformat", "${Package}\n${Version}", str(archive)])
    package, version = fields.strip("\n").split("\n")
    selected = scratch / "selected"
    selected.mkdir()
    files = [path for path in (scratch / "all").rglob("*") if not path.is_symlink()]
    fonts = [path for path in files if path.suffix.lower() in FONT_SUFFIXES]
    for file in [*fonts, scratch / "all/usr/share/doc" / package / "copyright"]:
        shutil.copyfile(file, selected / file.name)
    record = {"package": package, "version": version, "sha256": sha256(archive)}
    (selected / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(selected, root / package)


def _checked(command: list[str]) -> str:
    code, output = _run(command, None, lambda line: None)
    if code:
        raise RuntimeError(f"{command[0]} failed. {HINT}\n{output}")
    return output


def _run(
    command: list[str], folder: Path | None, each_line: Callable[[str], None]
) -> tuple[int, str]:
    """Return the exit code and all output; `each_line` is called while it runs."""
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
    except FileNotFoundError as error:
        raise RuntimeError(f"no {command[0]} on this machine. {HINT}") from error
    lines = []
    with process:
        for line in process.stdout or ():
            lines.append(line)
            each_line(line)
    return process.returncode, "".join(lines)
