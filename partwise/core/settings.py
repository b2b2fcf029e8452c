"""Settings: command line over environment over file over default, into frozen dataclasses.

Knows nothing of what the settings mean. Unknown keys, missing keys and values of the wrong type
are refused with the name of the place they came from.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from partwise.core.errors import ConfigError

T = TypeVar("T")

ENVIRONMENT_PREFIX = "PARTWISE"


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A filled dataclass, and for each of its fields the place its value came from."""

    value: T
    sources: Mapping[str, str]


def load_settings(
    kind: type[T],
    section: str,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    other_names: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Loaded[T]:
    """Fill the dataclass `kind`; its environment names are PARTWISE_<SECTION>_<FIELD>.

    `other_names` are further names of the environment, each with the field that it sets; ours win.
    `overrides` come from the command line; entries of None there mean "not given".
    Raises `ConfigError` with the place and the key.
    """
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def take(origin: str, given: Mapping[str, object]) -> None:
        for key, raw in given.items():
            if key not in hints:
                known = ", ".join(sorted(hints))
                raise ConfigError(f"{origin}: “{key}” is not a setting. Known are: {known}.")
            values[key] = _convert(raw, hints[key], f"{origin}: {key}")
            sources[key] = origin

    if file is not None and file.exists():
        take(file.name, _read_yaml(file))
    for name, key in (other_names or {}).items():
        if environment is not None and name in environment:
            take(name, {key: environment[name]})
    for key in hints:
        name = f"{ENVIRONMENT_PREFIX}_{section}_{key}".upper()
        if environment is not None and name in environment:
            take(name, {key: environment[name]})
    take("command line", {k: v for k, v in (overrides or {}).items() if v is not None})

    fields = dataclasses.fields(typing.cast(Any, kind))
    for field in fields:
        if field.name not in values:
            if not _has_default(field):
                raise ConfigError(
                    f"The setting “{section}.{field.name}” has no value. Give it one."
                )
            sources[field.name] = "default"
    try:
        return Loaded(kind(**values), sources)
    except ValueError as err:
        raise ConfigError(f"{section}: {err}") from err


def _has_default(field: "dataclasses.Field[Any]") -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _read_yaml(file: Path) -> dict[str, object]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as err:
        raise ConfigError(f"{file.name} is not valid YAML: {err}") from err
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file.name} must hold “key: value” lines.")
    return {str(key): value for key, value in content.items()}


def _convert(raw: object, hint: Any, place: str) -> object:
    options = typing.get_args(hint) if _is_union(hint) else (hint,)
    if type(None) in options and raw in (None, "", "none", "auto"):
        return None
    for option in options:
        if option is type(None):
            continue
        try:
            return _as_type(raw, option)
        except (KeyError, OverflowError, TypeError, ValueError):
            continue
    names = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise ConfigError(f"{place} is “{raw}”, which is not of type {names}.")


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _as_type(raw: object, kind: Any) -> object:
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        return raw if isinstance(raw, bool) else words[str(raw).strip().lower()]
    if kind is int:
        number = float(str(raw))
        if isinstance(raw, bool) or number != int(number):
            raise ValueError
        return int(number)
    if kind is float:
        return float(str(raw))
    if kind is Path:
        return _expanded(Path(str(raw)))
    if kind is str and isinstance(raw, str):
        return raw
    raise TypeError


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as err:
        raise ConfigError(
            f"“{path}” is in a home folder, and this user has none. Set HOME, or name a folder "
            "without “~”."
        ) from err
