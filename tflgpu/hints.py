"""What an error's message adds so that its cause is seen: the name that was meant, the layout of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" where a known word is close to the given one, else nothing."""
    from difflib import get_close_matches  # takes 10 ms, which only an error shall

    lower = {word.lower(): word for word in known}
    close = get_close_matches(given.lower(), lower, 1)
    return f" (did you mean {lower[close[0]]!r}?)" if close else ""


def layout(got: Sequence[int], wanted: Sequence[int]) -> str:
    """What may be wrong with an array of shape `got` for an input of shape `wanted`; nothing where it is not clear."""
    if len(got) == len(wanted) == 4:
        n, x, y, z = got
        if wanted[3] in (1, 3, 4) and got[1] == wanted[3] != got[3]:
            return f"The array is in NCHW, the model reads NHWC: array.transpose(0, 2, 3, 1) is {[n, y, z, x]}."
        if wanted[1] in (1, 3, 4) and got[3] == wanted[1] != got[1]:
            return f"The array is in NHWC, the model reads NCHW: array.transpose(0, 3, 1, 2) is {[n, z, x, y]}."
    if len(got) + 1 == len(wanted) and wanted[0] in (1, -1) and [*got] == [*wanted[1:]]:
        return f"The array lacks the batch dimension: array[np.newaxis] is {[1, *got]}."
    return ""


def resized(given: Iterable[tuple[str, Sequence[int], Sequence[int]]]) -> str:
    """The inputs that a caller gave other shapes, for the message where these do not fit.

    given: of each its name, the model's shape and its own.
    """
    pairs = [(name, was, shape) for name, was, shape in given if was != shape]
    told = [f"{name!r} from {list(was)} to {list(shape)}" for name, was, shape in pairs]
    hints = "".join(f" {hint}" for _, was, shape in pairs if (hint := layout(shape, was)))
    return f"\n(resized: {'; '.join(told)}){hints}" if told else ""
