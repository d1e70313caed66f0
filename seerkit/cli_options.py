"""Options that are handed on by name, such as ``--option renderer=egl``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def read_options(given: Sequence[str] | None) -> dict[str, Any]:
    """Turn ``name=value`` into keyword arguments; a value is YAML: a number, a list, null, or else text.

    Raises:
        ValueError: there is no ``=``, no name, or the value is no YAML.

    Example:
        >>> read_options(["renderer=egl", "action_scale=[0.02, 0.05]", "depth=null"])
        {'renderer': 'egl', 'action_scale': [0.02, 0.05], 'depth': None}
    """
    import yaml

    options: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise ValueError(f"--option must be name=value, got {text!r}")
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"--option {name} is no YAML: {value!r}") from error
    return options
