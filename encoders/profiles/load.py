"""Profiles from YAML files: what is not understood is refused, with file, key and what was expected.

An operator's own profiles live in a directory that is given; they are found before the ones that come with the farm.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from encoders.errors import FarmError, Fault
from encoders.ladder import Profile

BUILT_IN = Path(__file__).parent


class ProfileInvalid(FarmError):
    """A profile does not exist or its file is wrong; the detail names file, key and what is expected."""

    code = "profile_invalid"
    fault = Fault.CALLER


def profile_names(directory: Path | None = None) -> tuple[str, ...]:
    """Names of all profiles, in alphabetical order: the farm's own and those in `directory`."""
    return tuple(sorted({path.stem for path in (*BUILT_IN.glob("*.yaml"), *_files_in(directory))}))


def load_profile(name: str, directory: Path | None = None) -> Profile:
    """Read and check one profile.

    Args:
        name: of the profile and, with ".yaml", of its file.
        directory: an operator's own profiles; one of the same name as a built-in replaces it.

    Raises:
        ProfileInvalid: there is no such profile, or its file is no valid one.
    """
    for path in (*_files_in(directory), *BUILT_IN.glob("*.yaml")):
        if path.stem == name:
            return _read(path)
    raise ProfileInvalid(f"there is no profile {name!r}; there are: {', '.join(profile_names(directory))}")


def _files_in(directory: Path | None) -> list[Path]:
    return sorted(directory.glob("*.yaml")) if directory else []


def _read(path: Path) -> Profile:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProfileInvalid(f"{path.name}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    _refuse_unknown_keys(path.name, "", Profile, raw)
    try:
        profile = TypeAdapter(Profile).validate_python(raw)
    except ValidationError as error:
        raise ProfileInvalid(f"{path.name}: {_first_mistake(error)}") from error
    if profile.name != path.stem:
        raise ProfileInvalid(f"{path.name}: name is {profile.name!r}; it must be the file's, {path.stem!r}")
    return profile


def _first_mistake(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    return f"{key}: {first['msg']}, got {first['input']!r:.80}"


def _refuse_unknown_keys(file: str, where: str, expected: object, value: object) -> None:
    """Pydantic lets unknown keys of a standard dataclass pass: a misspelt setting would silently keep its default."""
    for cls in _dataclasses_in(expected):
        if isinstance(value, list):
            for index, item in enumerate(value):
                _refuse_unknown_keys(file, f"{where}.{index}", cls, item)
        if not isinstance(value, dict):
            continue
        hints = typing.get_type_hints(cls)
        for key, inner in value.items():
            path = f"{where}.{key}".lstrip(".")
            if key not in hints:
                raise ProfileInvalid(f"{file}: {path} is no known key; expected one of {', '.join(sorted(hints))}")
            _refuse_unknown_keys(file, path, hints[key], inner)


def _dataclasses_in(expected: object) -> list[type]:
    """The dataclasses in a type: itself, or those inside of a tuple or a union."""
    if (
        isinstance(expected, type)
        and not isinstance(expected, types.GenericAlias)
        and dataclasses.is_dataclass(expected)
    ):
        return [expected]
    return [found for inner in typing.get_args(expected) for found in _dataclasses_in(inner)]
