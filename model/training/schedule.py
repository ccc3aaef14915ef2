"""The learning rate's schedule: linear warm-up, then a cosine; a pure function of step and total.

So the total may be changed when a training is resumed. Never holds state.
"""

import math


def learning_rate(step: int, total_steps: int, warmup_steps: int, peak: float, final_share: float) -> float:
    """The learning rate of a step.

    Args:
        step: 0 for the first.
        total_steps: of the whole training; at its end the rate is `peak * final_share`.
        warmup_steps: the rate grows linearly to `peak` over these.
        peak: the highest rate.
        final_share: last rate over `peak`.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
    return peak * (final_share + (1 - final_share) * (1 + math.cos(math.pi * progress)) / 2)
