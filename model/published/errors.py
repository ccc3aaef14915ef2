"""What is wrong with a published checkpoint, in one line.

Holds the error alone. Never reads a checkpoint.
"""


class PublishedError(ValueError):
    """State dicts that are not the published network's; the message names the part and the key in its naming."""
