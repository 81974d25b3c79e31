"""Trains toy stages as one of two processes.

`mode` is `copies` (every process holds the model) or `shards` (FSDP2). accelerate shards on GPUs only, so on a CPU its
state is told to; what it then does is the same.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import toy
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import nn

from patchvsr.degradation.degrade import Degradation
from patchvsr.models.mini import sizes as mini
from patchvsr.training import trainer
from patchvsr.training.build import build_stage
from patchvsr.training.clips import ClipSource
from patchvsr.training.recipes import Recipe
from patchvsr.training.samples import Samples
from patchvsr.training.validation import Validator

STAGES = ("restorer", "autoencoder", "base", "adapter")
BLOCKS = {
    "restorer": "ConditionedBlock",
    "autoencoder": "ConditionedBlock",
    "base": "WanTransformerBlock",
    "adapter": "PatchVSRBlock",
}


def recipe(stage: str, output: Path, **settings: Any) -> Recipe:
    return Recipe(
        stage=stage, name=f"mini_{stage}", output=str(output), num_frames=5, sizes="64", canvas_min=64, canvas_max=128,
        lora_rank=2, warmup_steps=0, weight_decay=0.0, checkpoint_every=2, log_every=1, workers=0, precision="fp32",
        steps=2, validation_frames=5, validation_side=128, validation_steps="1",
        degradation=Degradation(clean_share=1.0), **settings,
    ).check()  # fmt: skip


def build(chosen: Recipe) -> Any:
    mini.new_autoencoder = toy.autoencoder
    mini.new_base = toy.base_of
    mini.new_prompt = lambda: nn.Parameter(toy.randn(1, toy.PROMPT_LENGTH, toy.TEXT_DIM))  # type: ignore[assignment]
    return build_stage(chosen)


def shard(stage: str) -> None:
    def sharding(**options: Any) -> Accelerator:
        accelerator = Accelerator(**options)
        AcceleratorState._shared_state["distributed_type"] = DistributedType.FSDP
        AcceleratorState._shared_state["fsdp_plugin"] = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap", transformer_cls_names_to_wrap=[BLOCKS[stage]],
            cpu_ram_efficient_loading=False,
        )  # fmt: skip
        return accelerator

    trainer.Accelerator = sharding  # type: ignore[assignment]


def one_of_two(number: int, port: int, mode: str, packed: Path, output: Path) -> None:
    """With the environment that torchrun gives a process; its agent has the store."""
    os.environ |= dict(
        RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE="True",
    )  # fmt: skip
    source = ClipSource(packed)
    for name in STAGES:
        if mode == "shards":
            shard(name)
        chosen = recipe(name, output, batch_size=2)
        stage = build(chosen)
        validator = Validator(chosen, source) if name == "adapter" else None
        samples = Samples(stage.make_sample, source, chosen)
        list(trainer.train(chosen, stage, samples, data_digest=source.digest, validator=validator))
