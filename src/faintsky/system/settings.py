"""Settings: a pydantic model whose errors are one line."""

import os
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from faintsky.errors import InputError


class Settings(BaseModel):
    """Base of all settings: frozen, with names and bounds checked; `read` checks values given by users."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def read(
        cls,
        values: Mapping[str, Any],
        *,
        what: str = "setting",
        hint: str = "",
        path: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Settings from plain values; the others have their defaults.

        Parameters
        ----------
        values : mapping
            Values by name.
        what : str, optional
            Word for one of them in messages.
        hint : str, optional
            What the user can do; by default a general hint, or the known names.
        path : path-like, optional
            The file that holds them.

        Returns
        -------
        Settings

        Raises
        ------
        InputError
            For the first that is unknown, of another type or out of bounds.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                known = f"known: {', '.join(cls.model_fields)}"
                raise InputError(f"unknown {what} {name!r}", hint or known, path) from error
            said = first["msg"].removeprefix("Value error, ")
            said = said[:1].lower() + said[1:]
            if first["type"] == "sequence_str":
                said, hint = "input should be a list", hint or "give such as [4, 8]"
            where = f"{name}={first['input']!r}: " if name else ""
            raise InputError(f"{what} {where}{said}", hint or "give another value", path) from error
