"""``python -m harness`` is ``lparbench``."""

from harness.cli.main import main

if __name__ == "__main__":
    main()
