"""`python -m model.training`: what torchrun starts in each process; the same as `mien-train`. Never anything else."""

from model.training.cli import main

if __name__ == "__main__":
    main()
