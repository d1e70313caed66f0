"""Run the command `seerkit` as ``python -m seerkit``, which is how ``torchrun -m seerkit`` starts its processes."""

from seerkit.cli import main

if __name__ == "__main__":
    main()
