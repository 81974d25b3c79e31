"""What ComfyUI reads before anything runs: the list of nodes, their schemas, the example workflow, the metadata."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from patchvsr import __version__
from patchvsr.models.registry import bundled_models

FOLDER = Path(__file__).resolve().parents[2] / "comfyui"
CORE_NODES = {"LoadVideo": 1}  # of ComfyUI itself, with the number of their widgets that are saved at least


@pytest.fixture
def node_list(nodes: ModuleType) -> list[type]:
    async def listed() -> list[type]:
        return await (await nodes.comfy_entrypoint()).get_node_list()

    return asyncio.run(listed())


def test_ids_are_unique_and_ours(node_list: list[type]) -> None:
    schemas = [node.define_schema() for node in node_list]
    assert [schema.node_id for schema in schemas] == ["PatchVSRUpscaleVideo", "PatchVSRUpscaleImages"]
    assert [schema.display_name for schema in schemas] == ["PatchVSR Upscale Video", "PatchVSR Upscale Images"]
    for schema in schemas:
        ids = [input.id for input in schema.inputs]
        assert len(ids) == len(set(ids))
        assert schema.category == "PatchVSR" and schema.description


def test_inputs_and_outputs_are_those_of_execute(node_list: list[type]) -> None:
    from comfy_api.latest import io

    for node, kind in zip(node_list, (io.Video, io.Image), strict=True):
        schema = node.define_schema()
        assert isinstance(schema.inputs[0], kind.Input)
        assert [type(output) for output in schema.outputs] == [kind.Output]
        given = {input.id: None for input in schema.inputs}
        inspect.signature(node.execute).bind(**given)
        needed = {input.id for input in schema.inputs if not input.optional}
        taken = {name for name, p in inspect.signature(node.execute).parameters.items() if p.kind != p.VAR_KEYWORD}
        assert taken <= given.keys() and {n for n in taken if n != "preset"} <= needed
        assert sorted(input.optional for input in schema.inputs) == [input.optional for input in schema.inputs]


def test_defaults_are_valid(node_list: list[type]) -> None:
    from comfy_api.latest import io

    for input in (input for node in node_list for input in node.define_schema().inputs):
        if isinstance(input, io.Combo.Input):
            assert input.options
        elif isinstance(input, io.Int.Input | io.Float.Input):
            assert input.min <= input.default <= input.max
        if input.id == "model":
            assert input.options[: len(bundled_models())] == list(bundled_models())
        if input.id == "seed":
            assert input.control_after_generate is False  # or each queueing would be another job


def test_the_example_workflow_fits_the_schemas(node_list: list[type]) -> None:
    from comfy_api.latest import io

    schemas = {schema.node_id: schema for schema in (node.define_schema() for node in node_list)}
    files = list((FOLDER / "example_workflows").glob("*.json"))
    assert files
    for file in files:
        workflow = json.loads(file.read_text())
        nodes = {node["id"]: node for node in workflow["nodes"]}
        assert {node["type"] for node in nodes.values()} <= schemas.keys() | CORE_NODES.keys()
        for id, source, slot, target, target_slot, kind in workflow["links"]:
            assert id in nodes[source]["outputs"][slot]["links"]
            assert nodes[target]["inputs"][target_slot]["link"] == id
            assert nodes[source]["outputs"][slot]["type"] == nodes[target]["inputs"][target_slot]["type"] == kind
        for node in nodes.values():
            if node["type"] not in schemas:
                continue
            widgets = [i for i in schemas[node["type"]].inputs if not isinstance(i, io.Video.Input | io.Image.Input)]
            assert len(node["widgets_values"]) == len(widgets)
            for widget, value in zip(widgets, node["widgets_values"], strict=True):
                assert value in widget.options if isinstance(widget, io.Combo.Input) else value is not None


def test_metadata_for_the_registry() -> None:
    data = tomllib.loads((FOLDER / "pyproject.toml").read_text())
    project, comfy = data["project"], data["tool"]["comfy"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["version"] == re.split(r"\.?(dev|a|b|rc)", __version__)[0]
    assert comfy["PublisherId"] and comfy["DisplayName"]
