"""Values of settings in YAML, converted to the types of their fields."""

import math
import re
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import yaml

_NULL = "tag:yaml.org,2002:null"
_TEXT = "tag:yaml.org,2002:str"
_MISSING = "!missing"
_EXPECTED = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    list[int]: "a list of integers",
    list[float]: "a list of numbers",
    list[str]: "a list such as [a.bin, b.bin]",
    dict[str, Any]: "a mapping such as {t: 1.12}",
}
_NO_VALUE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """A reader of YAML in which no key comes twice.

    1e-3 is a number; dates, 010 (8 in YAML 1.1) and 1:12 (72 there) are texts.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [each for each in resolvers if not each[0].endswith(("timestamp", "int", "float"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for name in names:
            if names.count(name) > 1:
                raise yaml.YAMLError(f"{name} is given {names.count(name)} times")
        return node


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """A writer of what `_Loader` reads as it was."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    # In other styles PyYAML writes these line breaks so that they are read as another.
    style = '"' if re.search("[\\x85\\u2028\\u2029]", text) else None
    return dumper.represent_scalar(_TEXT, text, style=style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_multi_representer(PurePath, lambda dumper, path: _represent_text(dumper, str(path)))

# Written texts are quoted where they would be read as anything else.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$")
_FLOAT = re.compile(
    r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?$"
    r"|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
)
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list("-+0123456789"))
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
    _class.add_implicit_resolver(_MISSING, re.compile(r"\?\?\?$"), ["?"])


def write(values: dict[str, Any]) -> str:
    """Return the YAML text of settings."""
    options = {"sort_keys": False, "allow_unicode": True, "width": math.inf}
    return str(yaml.dump(values, Dumper=_Dumper, **options))


def parse(text: str) -> yaml.Node:
    """Return the node of a YAML text; ValueError, in one line, if it is none."""
    try:
        return yaml.compose(text, Loader=_Loader) or yaml.ScalarNode(_NULL, "")
    except (yaml.YAMLError, *_NO_VALUE) as error:
        raise ValueError(" ".join(str(error).split())) from error


def parse_setting(name: str, text: str, kind: Any) -> yaml.Node:
    """Return the node of a `name=text`, in which a text is taken as it is, and others are YAML."""
    if str in _kinds(kind):
        return yaml.ScalarNode(_TEXT, text)
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{name}: expected {_expected(kind)}, got {text!r}") from error


def entries(name: str, node: yaml.Node) -> list[tuple[str, yaml.Node]]:
    """Return the names and values of a mapping; ValueError naming `name` if it is none.

    What is not given, as ??? says, is left out.
    """
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{name}: expected settings of the form `key: value`, got {_source(node)}")
    try:
        _Loader("").flatten_mapping(node)
    except (yaml.YAMLError, *_NO_VALUE) as error:
        raise ValueError(f"{name}: expected settings to merge, got {_source(node)}") from error
    return [(str(key.value), value) for key, value in node.value if value.tag != _MISSING]


def convert(name: str, node: yaml.Node, kind: Any) -> Any:
    """Return the value of a node as a field of type `kind` takes it.

    Raises:
        ValueError: naming `name`: it is of another type.
    """
    try:
        return _convert(node, kind)
    except (yaml.YAMLError, *_NO_VALUE) as error:
        raise ValueError(f"{name}: expected {_expected(kind)}, got {_source(node)}") from error


def _convert(node: yaml.Node, kind: Any) -> Any:
    if isinstance(kind, UnionType):
        none = node.tag == _NULL or (str in _kinds(kind) and node.value == "")
        return None if none else _convert(node, get_args(kind)[0])
    if kind is str:
        return _text(node)
    if get_origin(kind) is list:
        if not isinstance(node, yaml.SequenceNode):
            raise TypeError
        return [_convert(entry, get_args(kind)[0]) for entry in node.value]
    value = _Loader("").construct_document(node)
    return value if kind is Any else _CONVERSIONS[get_origin(kind) or kind](value)


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.tag == _NULL or not node.value:
        raise TypeError
    return str(node.value)


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise TypeError
    return value


def _boolean(value: Any) -> bool:
    names = yaml.SafeLoader.bool_values | {"y": True, "n": False, "1": True, "0": False}
    return bool(names[str(value).lower()])


def _integer(value: Any) -> int:
    if type(value) not in (int, str):
        raise TypeError
    number = int(value)
    if abs(number) >= 2**64:  # what neither torch nor a check of a range takes
        raise OverflowError
    return number


def _number(value: Any) -> float:
    if type(value) not in (int, float, str):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise OverflowError
    return number


_CONVERSIONS = {bool: _boolean, int: _integer, float: _number, dict: _mapping}


def _kinds(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, UnionType) else (kind,)


def _expected(kind: Any) -> str:
    first, *others = _kinds(kind)
    expected = _EXPECTED.get(first, "settings such as {name: value}")
    return f"{expected} or null" if NoneType in others else expected


def _source(node: yaml.Node) -> str:
    """Return how a node was written."""
    start, end = node.start_mark, node.end_mark
    if start is None:
        return repr(node.value)
    text = start.buffer[start.pointer : end.pointer].strip().rstrip("\0")
    return repr(text) if len(text) <= 80 else repr(text[:80] + "...")
