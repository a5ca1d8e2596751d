"""Properties of the whole package: layers, names, instruction sets, the fallback."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fairloss_ext
from fairloss_ext import reference

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.cpu_only


def test_kernels_include_no_torch_headers():
    for folder in ("csrc/include", "csrc/cpu", "csrc/cuda"):
        for path in (ROOT / folder).rglob("*.*"):
            assert not re.search(
                r"#include\s*[<\"](torch|ATen|c10)/", path.read_text(encoding="utf-8")
            ), path


def test_the_ops_do_not_import_the_layer_above():
    for path in (ROOT / "fairloss_ext").rglob("*.py"):
        assert not re.search(
            r"^\s*(from|import) fairloss(\s|\.|$)", path.read_text(encoding="utf-8"), re.M
        ), path


@pytest.mark.parametrize("name", fairloss_ext.ops.__all__)
def test_an_op_has_one_stem_in_all_folders(name):
    paths = [f"fairloss_ext/ops/{name}.py", f"fairloss_ext/reference/{name}.py"]
    paths += [f"tests/ext/test_{name}.py", f"benchmarks/bench_{name}.py"]
    if name != "margin_softmax_loss":  # composed of two ops
        paths += [f"csrc/ops/{name}.cpp", f"csrc/cpu/{name}.cpp"]
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert not missing
    assert hasattr(reference, name)


CHECK_ISA = """
import sys, torch, fairloss_ext
from fairloss_ext import reference
assert fairloss_ext.build_info().isa == sys.argv[1], fairloss_ext.build_info()
torch.manual_seed(0)
# Three samples leave most of a row of 16 as padding, which is NaN before it is written.
torch.use_deterministic_algorithms(True)
for batch in (3, 37):
    e, w, s = torch.randn(batch, 50), torch.randn(233, 50), torch.tensor(20.0)
    y = torch.randint(-1, 233, (batch,))
    leaves = [x.requires_grad_() for x in (e, w, s)]
    gradients = [
        torch.autograd.grad(ops.cosine_partition(e, w, y, s)[1].sum(), leaves)
        for ops in (fairloss_ext, reference)
    ]
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
e, w = torch.randn(37, 50, requires_grad=True), torch.randn(133, 50, requires_grad=True)
y = torch.randint(0, 133, (37,))
values = []
for ops in (fairloss_ext, reference):
    loss = ops.margin_softmax_loss(e, w, y, 0.4)
    values.append((loss, *torch.autograd.grad(loss, (e, w))))
    for dtype in (torch.bfloat16, torch.float16):
        values[-1] += tuple(x.detach() for x in ops.cosine_partition(e, w, y, compute_dtype=dtype))
    values[-1] += tuple(ops.class_statistics(e, y, 133))[2:5]
    values[-1] += (ops.distractor_ranks(e, w, y % 37, torch.randn(37).sort().values * 0, 9)[1],)
for a, b in zip(*values):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
"""


def run(script, *arguments, **environment):
    build = Path(fairloss_ext.__file__).parents[1]  # a separate build, where one is tested
    paths = os.pathsep.join([str(build), str(ROOT / "python")])
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"PYTHONPATH": paths} | environment,
        capture_output=True,
        encoding="utf-8",
        cwd=environment.get("HOME"),
    )


@pytest.mark.parametrize("isa", fairloss_ext.build_info().built_isas)
def test_every_instruction_set_computes_the_same(isa):
    if fairloss_ext.build_info().built_isas.index(isa) > fairloss_ext.build_info().built_isas.index(
        fairloss_ext.build_info().isa
    ):
        pytest.skip(f"this CPU has no {isa}")
    result = run(CHECK_ISA, isa, FAIRLOSS_ISA=isa)
    assert result.returncode == 0, result.stderr


def test_wide_instructions_stay_in_their_namespaces():
    """A shared inline function compiled for AVX would crash older CPUs."""
    objdump = shutil.which("objdump")
    if objdump is None or "avx2" not in fairloss_ext.build_info().built_isas:
        pytest.skip("needs objdump on x86-64")
    library = next((ROOT / "fairloss_ext").glob("_C*.so"), None)
    library = library or next(Path(fairloss_ext.__file__).parent.glob("_C*.so"))
    listing = subprocess.run(
        [objdump, "-d", "--no-show-raw-insn", str(library)], capture_output=True, encoding="utf-8"
    ).stdout
    function, wide = "", set()
    for line in listing.splitlines():
        if line.endswith(">:"):
            function = line
        elif "%ymm" in line or "%zmm" in line:
            wide.add(function)
    assert wide
    assert [f for f in wide if "avx2" not in f and "avx512" not in f] == []


FALLBACK = """
import warnings, torch
warnings.simplefilter("error")
import fairloss_ext
info = fairloss_ext.build_info()
assert info.backend == "reference" and "FAIRLOSS_SKIP_EXT" in info.reason, info
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    e, w, y = torch.randn(4, 8, requires_grad=True), torch.randn(5, 8), torch.tensor([0, 1, 4, 2])
    loss = fairloss_ext.margin_softmax_loss(e, w, y, 0.5)
    loss.backward()
    fairloss_ext.margin_softmax_loss(e, w, y, 0.5)
assert [str(w.message) for w in caught if "plain-torch fallback" in str(w.message)].__len__() == 1
assert e.grad.isfinite().all()
"""


def test_without_a_compiled_library_plain_torch_runs_with_a_warning(tmp_path):
    skip = shutil.ignore_patterns("_C*", "_host*", "_build.json", "__pycache__")
    shutil.copytree(Path(fairloss_ext.__file__).parent, tmp_path / "fairloss_ext", ignore=skip)
    record = '{"version": 1, "reason": "built with FAIRLOSS_SKIP_EXT=1"}'
    (tmp_path / "fairloss_ext" / "_build.json").write_text(record, encoding="utf-8")
    result = run(FALLBACK, PYTHONPATH=str(tmp_path), HOME=str(tmp_path))
    assert result.returncode == 0, result.stderr


def test_compiled_kernels_run_on_this_machine():
    """All tests would also pass on the fallback; this machine has a compiler."""
    assert fairloss_ext.build_info().backend == "compiled"


def test_devices_without_a_kernel_use_plain_torch():
    """The meta device stands for any: results have shapes, and no compiled op is called."""
    embeddings = torch.randn(3, 4, device="meta", requires_grad=True)
    weight, labels = torch.randn(9, 4, device="meta"), torch.zeros(3, dtype=int, device="meta")
    losses = fairloss_ext.margin_softmax_loss(embeddings, weight, labels, 0.5, reduction="none")
    assert losses.shape == (3,)
    losses.sum().backward()
    assert embeddings.grad.shape == (3, 4)


def test_errors_start_with_the_argument():
    with pytest.raises(ValueError, match="^labels: expected -1 to 3, got 9 at position 1"):
        fairloss_ext.cosine_partition(torch.randn(2, 3), torch.randn(4, 3), torch.tensor([0, 9]))


@pytest.mark.parametrize("name", ["layout", "kind", "extension"])
def test_raw_ops_refuse_unknown_enumerators(name):
    options = {"layout": 1, "kind": 0, "extension": 0} | {name: 2**32 + 2}
    with pytest.raises(RuntimeError, match=f"{name}: expected 0 to"):
        torch.ops.fairloss.margin_loss(
            *(torch.zeros(2), torch.zeros(2), torch.tensor([0, 1]), torch.zeros(2), None),
            *(torch.tensor(1.0), *options.values(), False),
        )
