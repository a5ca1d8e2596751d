"""The command `fairloss plan`."""

import json
from typing import Annotated, Any

import typer

from fairloss.cli._console import print_line
from fairloss.cli._settings import Settings, load_settings
from fairloss.cli._tables import print_table

PARTS = {
    "weight": "class weights",
    "optimizer": "momentum, or moments, of the optimizer",
    "gradient": "gradient of the weights",
    "drawn": "drawn rows of the weights",
    "drawn_gradient": "gradient of the drawn rows",
    "saved_cosines": "cosines saved for the backward pass",
    "embeddings": "embeddings of all ranks, buffers",
    "scratch": "scratch of the optimizer or the draw, while no cosines are saved",
    "statistics": "statistics of all classes, after an epoch",
    "peak": "peak",
}


def plan(
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
) -> None:
    """Compute the memory and traffic of a head whose classes are divided among ranks.

    The backbone, its activations and its gradients are not counted; they need what is left.

    Example: `fairloss plan classes=5e6 ranks=8 batch_size=128 sample_rate=0.1`

    Settings:

    - classes=1e6, ranks=1, embedding_size=512
    - batch_size=128: images of a rank
    - sample_rate=1, sparse=true: gradients of sampled classes
    - optimizer=sgd: with momentum and weight decay, or adamw
    - precision=float32: of the embeddings that the head gets, or bfloat16 or float16; the weights
      and their gradient are float32
    - statistics=false: of the classes, taken after an epoch; true for Fair Loss and other heads
      that need them, and for statistics=always
    - memory=80: GB of a rank
    - device=cuda: or cpu
    """
    import fairloss.plan

    result = fairloss.plan.plan(load_settings(settings, fairloss.plan.PlanConfig))
    if as_json:
        print_line(json.dumps(result))
        return
    _print(result)


def _print(result: dict[str, Any]) -> None:
    config, size = result["settings"], result["bytes"]
    classes = f"{result['classes_of_a_rank']:,} of {int(config['classes']):,} classes"
    rows = [(PARTS[name], f"{size[name] / 1e9:.3f}") for name in PARTS if size[name]]
    print_table(f"memory of a rank with {classes}", ("part", "GB"), rows)
    print_table(
        f"traffic of a step, {config['ranks']} ranks with {config['batch_size']} images each",
        ("collective", "MB of a rank", "MB it sends, in a ring"),
        [
            (
                f"{each['name']}: {each['content']}",
                f"{each['bytes'] / 1e6:.3f}",
                f"{each['sent'] / 1e6:.3f}",
            )
            for each in result["collectives"]
        ],
    )
    print_line(f"a rank sends {result['sent'] / 1e6:.3f} MB a step")
    _print_host(result["host_bytes"])
    left = result["left"] / 1e9
    if result["fits"]:
        print_line(f"fits in memory={config['memory']:g} GB, of which {left:.1f} GB are left")
        return
    print_line(f"does not fit in memory={config['memory']:g} GB: {-left:.1f} GB too much")
    would = [f"{name}={value}".lower() for name, value in result["would_fit"].items()]
    print_line(f"would fit: {' or '.join(would) or 'no single setting'}")


def _print_host(size: dict[str, int]) -> None:
    if size["statistics"]:
        shown = f"{size['statistics'] / 1e9:.3f} GB of class centers after an epoch"
        print_line(f"in the memory of the host, a rank has {shown}")
    if size["first_rank_at_end"]:
        shown = f"{size['first_rank_at_end'] / 1e9:.3f} GB of class weights at the end of a run"
        print_line(f"in the memory of the host, the first rank has {shown}")
