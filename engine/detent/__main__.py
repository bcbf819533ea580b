"""`python -m detent`: the same as the `detent` command."""

from detent.cli import main

if __name__ == "__main__":
    main()
