"""What goes wrong in an export: one exception whose message is one clear line.

Never holds a check or a message of its own.
"""


class ExportError(ValueError):
    """An export that must not happen or did not hold; the message is for the person who started it."""
