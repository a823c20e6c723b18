"""python -m control: the same as the command `pointsman`."""

from control.cli import main

if __name__ == "__main__":
    main()
