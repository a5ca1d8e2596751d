from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import fairloss_ext
from fairloss.doctor import EXTRAS, Machine, Toolkit, diagnose, examine, find_toolkit, render

BUILD = fairloss_ext.BuildInfo(
    backend="compiled",
    reason="",
    compiler="gcc 12.2.0",
    built_isas=("portable", "avx2", "avx512"),
    isa="avx512",
    cuda_architectures=(),
    torch="2.13.0+cpu",
    built_with_torch="2.13.0+cpu",
)
HEALTHY = Machine(
    build=BUILD,
    isa_limit=None,
    torch_cuda=None,
    gpus={},
    toolkit=None,
    distributions={"faiss-cpu": "1.15.1"} | {n: "1.0" for names in EXTRAS.values() for n in names},
)


def finding(name, machine=HEALTHY, /, **changes):
    return {f.name: f for f in diagnose(replace(machine, **changes))}[name]


def fallback(reason):
    return replace(BUILD, backend="reference", reason=reason, isa="none", built_isas=())


def test_a_healthy_installation_needs_nothing():
    findings = diagnose(HEALTHY)
    assert {f.status for f in findings} == {"ok"}
    assert not any(f.remedy for f in findings)
    assert "gcc 12.2.0" in finding("ops").detail
    assert "avx512" in finding("instruction set").detail


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("built with FAIRLOSS_SKIP_EXT=1", "unset FAIRLOSS_SKIP_EXT, then pip install"),
        ("no C++20 compiler was found at build time (tried 'c++'; set CXX)", "set CXX to one"),
        ("_C.abi3.so does not load: undefined symbol", "pip install --force-reinstall"),
    ],
)
def test_the_fallback_names_its_reason_and_remedy(reason, remedy):
    result = finding("ops", build=fallback(reason))
    assert result.status == "warning"
    assert reason in result.detail
    assert remedy in result.remedy


def test_the_fallback_has_no_instruction_set():
    assert "instruction set" not in {f.name for f in diagnose(replace(HEALTHY, build=fallback("")))}


def test_a_limited_instruction_set_is_a_warning_only_where_the_variable_is_set():
    build = replace(BUILD, isa="avx2")  # an older CPU has no more
    assert finding("instruction set", build=build).status == "ok"
    limited = finding("instruction set", build=build, isa_limit="avx2")
    assert (limited.status, limited.remedy) == ("warning", "unset FAIRLOSS_ISA")


@pytest.mark.parametrize(
    ("running", "status"),
    [("2.9.1", "missing"), ("2.10.0+cu128", "missing"), ("2.11.0", "ok"), ("3.0.0a1", "ok")],
)
def test_torch_must_be_new_enough(running, status):
    assert finding("torch", build=replace(BUILD, torch=running)).status == status


def test_another_torch_than_at_build_time_is_named():
    result = finding("torch", build=replace(BUILD, torch="2.14.1+cu130"))
    assert result.status == "ok"
    assert "2.14.1+cu130" in result.detail
    assert "2.13.0+cpu" in result.detail


@pytest.mark.parametrize(
    ("torch_cuda", "release", "remedy"),
    [
        (None, None, ""),
        (None, "13.0", ""),
        ("13.0", None, "set CUDA_HOME to a CUDA 13 toolkit, then FORCE_CUDA=1 pip install"),
        ("13.0", "13.2", "FORCE_CUDA=1 pip install"),
        ("12.8", "13.0", "set CUDA_HOME to a CUDA 12 toolkit, then FORCE_CUDA=1 pip install"),
    ],
)
def test_a_build_without_cuda_kernels(torch_cuda, release, remedy):
    toolkit = Toolkit("/opt/cuda", release) if release else None
    result = finding("CUDA", torch_cuda=torch_cuda, toolkit=toolkit)
    assert result.status == ("ok" if torch_cuda is None else "warning")
    assert result.remedy.startswith(remedy)
    assert bool(result.remedy) == bool(remedy)
    assert ("without CUDA kernels" in result.detail) == (torch_cuda is not None)


@pytest.mark.parametrize("torch_cuda", [None, "13.0"])
def test_a_build_with_cuda_kernels(torch_cuda):
    build = replace(BUILD, cuda_architectures=("80", "100+PTX"))
    result = finding("CUDA", build=build, torch_cuda=torch_cuda)
    assert (result.status, result.remedy) == ("ok", "")
    assert "8.0, 10.0+PTX" in result.detail
    assert ("unused" in result.detail) == (torch_cuda is None)


CUDA_13, A100, RTX, T4 = Toolkit("/opt/cuda", "13.0"), (8, 0), (12, 0), (7, 5)


@pytest.mark.parametrize(
    ("built", "gpus", "toolkit", "lacking", "remedy"),
    [
        (("80",), {"A100": A100}, CUDA_13, [], ""),
        (("80",), {"RTX": RTX}, CUDA_13, ["RTX (12.0)"], 'TORCH_CUDA_ARCH_LIST="12.0" FORCE'),
        (("80",), {"RTX": RTX}, None, ["RTX"], "set CUDA_HOME to a CUDA 13 toolkit, then TORCH"),
        # a build for one of the two would have no kernels for the other
        (
            ("80",),
            {"T4": T4, "RTX": RTX, "A100": A100},
            CUDA_13,
            ["T4 (7.5), too old", "RTX"],
            'TORCH_CUDA_ARCH_LIST="8.0;12.0" FORCE_CUDA=1 pip install',
        ),
        (("80",), {"T4": T4}, CUDA_13, ["T4 (7.5), too old"], ""),
        ((), {"T4": T4}, CUDA_13, ["T4 (7.5), too old"], ""),
        ((), {"A100": A100}, CUDA_13, ["A100"], 'TORCH_CUDA_ARCH_LIST="8.0" FORCE_CUDA=1'),
    ],
)
def test_gpus_that_the_kernels_are_not_for(built, gpus, toolkit, lacking, remedy):
    build = replace(BUILD, cuda_architectures=built)
    result = finding("CUDA", build=build, torch_cuda="13.0", gpus=gpus, toolkit=toolkit)
    assert result.status == ("warning" if lacking else "ok")
    assert result.detail.count("none for") == len(lacking)
    assert all(f"none for {name}" in result.detail for name in lacking)
    assert result.remedy.startswith(remedy)
    assert bool(result.remedy) == bool(remedy)


def test_no_faiss_names_the_extra():
    result = finding("faiss", distributions={"faiss-helpers": "1"})
    assert (result.status, result.remedy) == ("missing", 'pip install "fairloss-ext[gallery]"')


@pytest.mark.parametrize("name", ["faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cuvs"])
def test_one_faiss_is_fine(name):
    assert finding("faiss", distributions={name: "1.15.1"}).status == "ok"


@pytest.mark.parametrize(("torch_cuda", "keep"), [(None, "faiss-cpu"), ("12.8", "faiss-gpu")])
def test_two_faiss_come_with_the_exact_remedy(torch_cuda, keep):
    both = {"faiss-gpu-cu12": "1.14.1", "faiss-cpu": "1.15.1"}
    result = finding("faiss", distributions=both, torch_cuda=torch_cuda)
    assert result.status == "warning"
    assert result.remedy == f"pip uninstall -y faiss-cpu faiss-gpu-cu12 && pip install {keep}"


def test_a_missing_extra_is_named_with_its_command():
    without = {k: v for k, v in HEALTHY.distributions.items() if k not in ("rich", "pillow")}
    result = finding("extra train", distributions=without)
    assert result.status == "missing"
    assert result.detail == "without rich, pillow"
    assert result.remedy == 'pip install "fairloss-ext[train]"'
    assert finding("extra report", distributions=without).status == "ok"


def test_extras_are_those_of_the_package():
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    for extra, names in EXTRAS.items():
        listed = re.search(rf"^{extra} = \[(.*?)\]", project, re.MULTILINE | re.DOTALL)[1]
        assert sorted(re.findall(r'"([A-Za-z0-9-]+)', listed.lower())) == sorted(names)


def test_render_aligns_and_puts_the_remedy_below():
    lines = render(diagnose(replace(HEALTHY, distributions={}))).splitlines()
    line = next(i for i, line in enumerate(lines) if "faiss" in line)
    assert lines[line].startswith("missing  faiss")
    assert lines[line + 1].split() == ["->", "pip", "install", '"fairloss-ext[gallery]"']
    assert lines[line].index("not installed") == lines[line + 1].index("->")


def make_nvcc(folder, script):
    folder.mkdir(parents=True)
    nvcc = folder / "nvcc"
    nvcc.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    nvcc.chmod(0o755)


def test_the_toolkit_behind_a_wrapper_is_found(tmp_path, monkeypatch):
    answer = "echo 'Cuda compilation tools, release 12.4, V12.4.131'\n"
    make_nvcc(tmp_path / "cuda" / "bin", answer + f"echo '#$ TOP={tmp_path}/cuda/bin/..' >&2")
    make_nvcc(tmp_path / "wrappers", f'exec {tmp_path}/cuda/bin/nvcc "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}/wrappers")
    toolkit = Toolkit(str((tmp_path / "cuda").resolve()), "12.4")
    assert find_toolkit(None) == toolkit
    assert find_toolkit(str(tmp_path / "cuda")) == toolkit
    assert find_toolkit(str(tmp_path / "nowhere")) is None


def test_a_broken_nvcc_is_none(tmp_path, monkeypatch):
    make_nvcc(tmp_path / "bin", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    assert find_toolkit(None) is None


def test_this_machine_can_be_examined():
    machine = examine()
    assert machine.build == fairloss_ext.build_info()
    assert machine.distributions["torch"]
    assert "ops" in render(diagnose())
