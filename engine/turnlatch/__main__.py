"""`python -m turnlatch`: the same as the `turnlatch` command."""

from turnlatch_command import main

if __name__ == "__main__":
    main()
