"""What a node declares: its schema, and typed inputs and outputs. Unknown arguments are errors, as in ComfyUI."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class FolderType(StrEnum):
    input = "input"
    output = "output"
    temp = "temp"


@dataclass
class Input:
    id: str
    display_name: str | None = None
    optional: bool = False
    tooltip: str | None = None


@dataclass
class Output:
    id: str | None = None
    display_name: str | None = None
    tooltip: str | None = None


@dataclass
class _Widget(Input):
    default: Any = None


@dataclass
class _Number(_Widget):
    min: float | None = None
    max: float | None = None
    step: float | None = None
    control_after_generate: bool | None = None


class Image:
    class Input(Input): ...

    class Output(Output): ...


class Video:
    class Input(Input): ...

    class Output(Output): ...


class Int:
    class Input(_Number): ...


class Float:
    class Input(_Number): ...


class Boolean:
    class Input(_Widget): ...


class String:
    class Input(_Widget): ...


class Combo:
    @dataclass
    class Input(_Widget):
        options: list[str] = field(default_factory=list)


@dataclass
class Schema:
    node_id: str
    display_name: str
    category: str
    description: str
    inputs: list[Input]
    outputs: list[Output]
    is_output_node: bool = False


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None) -> None:
        self.args, self.ui = args, ui


class ComfyNode:
    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError
