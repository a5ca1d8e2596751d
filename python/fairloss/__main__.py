"""The command `fairloss` as `python -m fairloss`, which `torchrun -m` needs."""

from fairloss.cli import main

if __name__ == "__main__":
    main()
