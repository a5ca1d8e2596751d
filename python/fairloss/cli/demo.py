"""The command `fairloss demo`."""

import fairloss.demo
from fairloss.cli._console import print_line
from fairloss.cli._progress import progress_bars
from fairloss.cli._settings import Settings, load_settings


def demo(settings: Settings = None) -> None:
    """Run the whole method on real photographs, in a few minutes.

    Trains Fair Loss and a fixed margin on the ORL faces (fetched once), verifies both on
    identities that neither saw, searches a gallery and writes a report.

    Example: `fairloss demo output=runs/demo seed=0`

    Settings:

    - output=runs/demo, seed=0
    - data=FOLDER: your own identity/image files instead of ORL
    - unseen=10: identities held out for verification
    - pretrain_epochs=30, chain_epochs=45, epochs=40 (of each arm)
    - image_size=[56,48], replicates=1000 (of the bootstrap)
    """
    config = load_settings(settings, fairloss.demo.DemoConfig)
    with progress_bars() as progress:
        path = fairloss.demo.demo(config, progress)
    print_line(f"report: {path}")
