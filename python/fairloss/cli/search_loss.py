"""The command `fairloss search-loss`."""

from fairloss import loss_search
from fairloss.cli._console import print_line
from fairloss.cli._progress import progress_bars
from fairloss.cli._settings import Settings, load_settings
from fairloss.io.run_folder import RunFolder


def search_loss(settings: Settings = None) -> None:
    """Search a loss: a population of models trains with different ones, and the best continue.

    Example: `fairloss search-loss data=faces output=runs/search epochs=30`, then
    `fairloss train data=faces output=runs/found head.loss=runs/search/loss.json`

    Writes output/loss.json, output/model (the run folder of the last best model), and
    trajectory.svg and loss.svg; random-softmax draws a loss in every round and searches none, so it
    writes no loss.json and no loss.svg. Settings are those of `fairloss train`, of the head only
    head.scale and head.sample_rate, and:

    - search.method=search-softmax, random-softmax or am-lfs
    - search.population=4: models of a round; a round is one epoch of each
    - search.held_out=10: training identities that only give the reward, verification of them
    - search.learning_rate=0.3, search.sigma=0.1, search.start=0.2: of the Gaussian
    - search.unit=margin (a = 1 - e^(s z), z Gaussian) or linear (a = -z e^(s / 3))
    - search.bins=1 (of p, each with its own a), search.intervals=6 (of am-lfs)
    - workers=1: processes
    """
    config = load_settings(settings, loss_search.SearchConfig)
    with progress_bars() as progress, loss_search.ProcessMap(config.workers) as processes:
        path = loss_search.search(config, None, progress, map if config.workers == 1 else processes)
    folder = RunFolder(config.output)
    (*_, last) = (line for line in folder.metrics() if line.get("event") == "round")
    print_line(
        f"{last['cost']} optimizer steps in {last['epoch']} rounds, reward "
        f"{max(last['rewards']):.4f}: {path}"
    )
    try:
        from fairloss.report.loss_search import write_search_figures
    except ImportError:
        print_line('no figures: they need pip install "fairloss-ext[report]"')
    else:
        print_line(f"figures: {', '.join(map(str, write_search_figures(folder.path)))}")
