"""`python -m detent`: the same as the `detent` command."""

from detent_command import main

if __name__ == "__main__":
    main()
