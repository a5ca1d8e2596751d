"""The command `fairloss train`."""

from fairloss import training
from fairloss.cli._console import print_line, print_note
from fairloss.cli._progress import progress_bars
from fairloss.cli._settings import Settings, load_settings
from fairloss.ranks import on_every_rank, rank_number


def train(settings: Settings = None) -> None:
    """Train on a folder of identity/image files, arrays, or a train.rec.

    Example: `fairloss train data=faces output=runs/mine epochs=20 seed=1`

    Ends with output/model.pt, the backbone's state dict. Ctrl-C and SIGTERM end the step, write a
    checkpoint, and exit with 130 and 143; the same command resumes. On several GPUs:
    `torchrun --nproc_per_node=4 -m fairloss train ...`. Settings and their defaults:

    - data=FOLDER (or train.rec, or a list of `path<TAB>label`), output=RUN: must be given
    - epochs=32, batch_size=64, seed=0
    - resume=auto: an interrupted run resumes after its newest checkpoint; previous: after one
      before it, if it is damaged; never: refuse a run
    - checkpoint_every=0: steps (0: after each epoch alone), keep_checkpoints=2: of the newest
    - init=RUN: start from a finished run; identities are matched by name, others start anew
    - init_backbone=MODEL.PT: start from a backbone that was trained on any identities
    - image_size=[112,112], channels=3 (1: gray), augment=true (mirror and shift)
    - memory_limit=8: GiB of images that are decoded once; workers=2: processes that decode others
    - sampler=shuffle (or balanced, or per_class with images_per_class=4)
    - precision=float32 (or bfloat16, float16), accumulate=1: micro-batches that a batch is cut into
    - model.name=small_cnn (or mobilefacenet, iresnet18, iresnet34, iresnet50, iresnet100,
      iresnet200, timm:NAME), model.embedding_size=128
    - head.name=CosFace (or any head of docs/losses.md), head.scale=32, head.margin=0.35,
      head.kind=arc (or cos, where the head has both), head.options={t: 1.12} (what else the head
      takes), head.sample_rate=1; or head.loss=loss.json (of `fairloss search-loss`)
    - head.policy=policy.json (of `fairloss fit-policy`): required by head.name=FairLoss
    - head.margins=FILE: margins of the identities (JSON or .npy), for head.name=PerClass
    - optimizer.name=sgd (or adamw), optimizer.learning_rate=0.1, optimizer.momentum=0.9,
      optimizer.weight_decay=5e-4, optimizer.clip=5, optimizer.warmup=0 (epochs)
    - optimizer.schedule=step with optimizer.decay_at=[0.625,0.875] (fractions of the epochs), or
      polynomial with optimizer.power=2
    - statistics=when_needed: class angles after each epoch, for a head that reads them; always:
      also for metrics.jsonl and the report of any other
    - evaluate=[lfw.bin,agedb_30.bin]: sets whose accuracy is logged after evaluate_every=1 epochs
      and the last; default none
    - log_every=50: steps between lines with loss, margins, images/s and time left (0: none)
    - tensorboard=false: also write scalars to output/tensorboard
    """
    config = on_every_rank(lambda: load_settings(settings, training.TrainConfig))
    with progress_bars() as progress:
        folder = training.train(config, progress=progress, report=print_note)
    if rank_number() == 0:
        print_line(f"backbone: {folder / 'model.pt'}")
