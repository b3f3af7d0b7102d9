"""How many inputs or outputs an operator has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Count:
    """A number of tensors, from `least` to `most`."""

    least: int
    most: float

    @staticmethod
    def parse(text: int | str) -> Count:
        """2, "2-3" (two or three) or "2+" (at least two)."""
        least, separator, most = str(text).removesuffix("+").partition("-")
        unbounded = str(text).endswith("+")
        return Count(int(least), float("inf") if unbounded else int(most if separator else least))

    def __contains__(self, number: int) -> bool:
        return self.least <= number <= self.most

    def __str__(self) -> str:
        if self.most == float("inf"):
            return f"at least {self.least}"
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most:.0f}"


ANY = Count(0, float("inf"))
