"""Setuptools' build backend, which also finds the torch that is already installed.

pip builds in an isolated environment. If torch were a plain build requirement, pip would fetch a
second torch there, often a CUDA build of several gigabytes that differs from the one in use, and
the ops would be built against it. So the installed torch is looked up and made importable; only
where there is none, torch is requested.
"""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import sysconfig

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the hooks that need no torch)


def _expose_installed_torch() -> bool:
    """Make torch importable here and in child processes; whether it was found."""
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


def _requires() -> list[str]:
    return [] if _expose_installed_torch() else ["torch>=2.11"]


def get_requires_for_build_wheel(config_settings=None):  # type: ignore[no-untyped-def]
    return _requires()


def get_requires_for_build_editable(config_settings=None):  # type: ignore[no-untyped-def]
    return _requires()


def get_requires_for_build_sdist(config_settings=None):  # type: ignore[no-untyped-def]
    return []


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    _expose_installed_torch()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    _expose_installed_torch()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
