"""The one error of everything that reads data.

Holds the class alone, so that readers which stand on each other can share it. Never reads anything.
"""


class DataError(ValueError):
    """Data that cannot be used; the message is one clear line for the person who named the folder."""
