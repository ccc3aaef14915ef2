"""A run at one shape, from buffers that are made once and stay on the device: what IO binding and CUDA graphs need.

Holds one shape's buffers and how they are filled and read. Never imports onnxruntime (`model.runtime.session` hands it
an opened graph and what makes a buffer), and never decides which shapes are worth buffers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


class BoundRun:
    """One shape's run. The buffers are its state: one caller at a time.

    Args:
        session: onnxruntime's session.
        allocate: gives a buffer on the session's device, an `OrtValue`, for what has an array's shape and type.
        feeds: arrays of the shape, by input name.
        answers: what the graph answers to such feeds, by output name: all outputs.
        options: onnxruntime's run options; where they name a CUDA graph, the first run records it.
    """

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - onnxruntime has no types
        allocate: Callable[[NDArray[Any]], Any],
        feeds: Arrays,
        answers: Arrays,
        options: Any,  # noqa: ANN401
    ) -> None:
        self._session, self._options = session, options
        self._binding = session.io_binding()
        self._inputs = {name: allocate(value) for name, value in feeds.items()}
        self._outputs = {name: allocate(value) for name, value in answers.items()}
        for name, buffer in self._inputs.items():
            self._binding.bind_ortvalue_input(name, buffer)
        for name, buffer in self._outputs.items():
            self._binding.bind_ortvalue_output(name, buffer)

    def __call__(self, feeds: Arrays, names: list[str]) -> dict[str, NDArray[Any]]:
        """Copies the feeds in, runs, and copies the named outputs out; the arrays are the caller's own."""
        for name, buffer in self._inputs.items():
            buffer.update_inplace(np.ascontiguousarray(feeds[name]))
        self._session.run_with_iobinding(self._binding, self._options)
        return {name: _own(self._outputs[name].numpy()) for name in names}


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """What the next run leaves alone: of a buffer in the processor's memory onnxruntime gives the buffer itself."""
    return array if array.flags.owndata else array.copy()


def shape_key(feeds: Arrays) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
    """What two feeds must share to be of one shape: names, types and axes."""
    return tuple((name, value.dtype.str, value.shape) for name, value in sorted(feeds.items()))
