"""`python -m service`: the command `mien`, for where the console script is not on the path.

Never holds more than that call.
"""

from service.cli import main

if __name__ == "__main__":
    main(prog_name="mien")
