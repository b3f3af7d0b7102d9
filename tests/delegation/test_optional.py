"""Optional members of delegates and devices: what counts as offered."""

from typing import Any, Protocol

from tflgpu.optional import lacking, offering, offers


class Rings(Protocol):
    """Rings."""

    loud: bool

    def ring(self, times: int, /) -> None: ...


class Bell:
    loud = False

    def ring(self, times: int) -> None:
        """Rings."""


class Wrapped:
    def __getattr__(self, name: str) -> Any:
        return getattr(Bell(), name)


def test_an_object_with_every_member_offers_them_whatever_their_values():
    assert offers(Bell(), Rings)


def test_a_wrapper_offers_what_it_wraps():
    assert offers(Wrapped(), Rings)


def test_a_member_that_is_missing_or_none_is_not_offered():
    silent = Bell()
    silent.ring = None  # type: ignore[assignment, method-assign]
    assert lacking(object(), Rings) == ["loud", "ring"]
    assert lacking(silent, Rings) == ["ring"]
    assert offering([silent, Bell, object()], Rings) == [Bell]
