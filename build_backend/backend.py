"""Setuptools' build backend, which also finds the torch that is already installed.

pip builds in an isolated environment. If torch were a plain build requirement, pip would fetch a
second torch there, often a CUDA build of several gigabytes that differs from the one in use, and
the ops would be built against it. So the installed torch is looked up and made importable; only
where there is none, torch is requested.
"""

import importlib.util
import os
import shutil
import site
import sys
import sysconfig
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the hooks that need nothing more)


def _expose_installed_torch() -> bool:
    """Make torch importable here and in child processes; return False where there is none."""
    if importlib.util.find_spec("torch") is not None:
        return True
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    for folder in dict.fromkeys(folders):
        if os.path.isdir(os.path.join(folder, "torch")):
            sys.path.append(folder)  # last: the build environment's own packages come first
            paths = [*filter(None, [os.environ.get("PYTHONPATH")]), folder]
            os.environ["PYTHONPATH"] = os.pathsep.join(paths)
            return True
    return False


# Every hook runs in its own process, and all but the sdist's run setup.py, which needs torch.
_REQUIRES = [] if _expose_installed_torch() else ["torch>=2.11"]


def get_requires_for_build_wheel(config_settings=None):  # type: ignore[no-untyped-def]
    return _REQUIRES


def get_requires_for_build_editable(config_settings=None):  # type: ignore[no-untyped-def]
    return _REQUIRES


def get_requires_for_build_sdist(config_settings=None):  # type: ignore[no-untyped-def]
    return []


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    # Setuptools does not empty this folder: modules deleted since the last build would be packed.
    for stale in Path("build").glob("lib*"):
        shutil.rmtree(stale)
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
