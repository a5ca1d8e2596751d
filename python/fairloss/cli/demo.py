"""The command `fairloss demo`."""

import fairloss.demo
from fairloss.cli._console import print_line
from fairloss.cli._progress import progress_bars
from fairloss.cli._settings import Settings, load_settings
from fairloss.io.json import read_json
from fairloss.report.verdict import verdict_lines


def demo(settings: Settings = None) -> None:
    """Run the whole method on real photographs, in a few minutes.

    Trains five networks with Fair Loss and five with the best of four fixed margins on the ORL
    faces (fetched once), compares them on identities that none saw, searches a gallery and writes a
    report. The verdict is ahead, behind, tie or undecided.

    Example: `fairloss demo output=runs/demo seed=0`

    Settings:

    - output=runs/demo, seed=0
    - seeds=5: networks of each arm; fewer than 5 have no verdict
    - data=FOLDER: your own identity/image files instead of ORL
    - unseen=10: identities held out for verification
    - pretrain_epochs=30, chain_epochs=45, epochs=40 (of each network)
    - image_size=[56,48], replicates=1000 (of the bootstrap of each network's own report)
    """
    config = load_settings(settings, fairloss.demo.DemoConfig)
    with progress_bars() as progress:
        path = fairloss.demo.demo(config, progress)
    evaluation = read_json(path.parent / "evaluation.json")
    if "across_seeds" in evaluation:
        for line in verdict_lines(read_json(path.parent / "demo.json"), evaluation):
            print_line(line)
    print_line(f"report: {path}")
