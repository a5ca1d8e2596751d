"""When setup.py builds CUDA kernels, and for what."""

from __future__ import annotations

import nvcc
import pytest

NVCC_13 = ["75", "80", "86", "87", "88", "89", "90", "90a", "100", "100f", "120"]


@pytest.mark.parametrize(
    ("force", "torch_cuda", "release", "build", "fatal", "reason"),
    [
        ("", None, "13.0", False, False, "torch is built for CPU"),
        ("", "13.0", None, False, False, "no nvcc was found"),
        ("", "13.0", "13.2", True, False, ""),
        ("", "12.8", "13.0", False, False, "set CUDA_HOME to a CUDA 12 toolkit"),
        ("1", None, "13.0", True, False, ""),
        ("1", None, None, False, True, "no nvcc was found"),
        ("1", "12.8", "13.0", False, True, "nvcc is of CUDA 13.0 but torch is built for CUDA 12.8"),
        ("0", "13.0", "13.0", False, False, "FORCE_CUDA=0"),
    ],
)
def test_decision(force, torch_cuda, release, build, fatal, reason):
    decision = nvcc.decide(force, torch_cuda, release)
    assert (decision.build, decision.fatal) == (build, fatal)
    assert reason in decision.reason


@pytest.mark.parametrize(
    ("requested", "supported", "selected"),
    [
        (None, NVCC_13, ["80", "90", "100+PTX"]),
        (None, ["80", "86", "90"], ["80", "90+PTX"]),  # an nvcc older than Blackwell
        ("8.6;9.0a+PTX", NVCC_13, ["86", "90a+PTX"]),
        ("8.0 12.0", NVCC_13, ["80", "120"]),
        ("7.5+PTX", NVCC_13, []),
        (None, ["60", "70"], []),
        (
            "7.0 7.5 8.0 9.0+PTX",
            NVCC_13,
            ["80", "90+PTX"],
        ),  # as images for many GPUs have it
    ],
)
def test_architectures(requested, supported, selected):
    assert nvcc.architectures(requested, supported) == selected


@pytest.mark.parametrize("requested", ["8.7a", "Hopper", "9.0;90", "8.0+ptx"])
def test_unknown_architectures_are_named(requested):
    with pytest.raises(ValueError, match="TORCH_CUDA_ARCH_LIST: expected "):
        nvcc.architectures(requested, NVCC_13)


@pytest.mark.parametrize(
    ("command", "compiler"),
    [("clang++ -stdlib=libc++", "clang++"), ("ccache g++ -m64", "g++"), ("/opt/g++", "/opt/g++")],
)
def test_nvcc_gets_the_compiler_without_its_options(command, compiler):
    assert nvcc.compiler_of(command) == compiler


def test_code_flags():
    assert nvcc.code_flags(["80", "90+PTX"]) == [
        *("-gencode", "arch=compute_80,code=sm_80"),
        *("-gencode", "arch=compute_90,code=sm_90"),
        *("-gencode", "arch=compute_90,code=compute_90"),
    ]
