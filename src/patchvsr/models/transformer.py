"""Wan transformer with a dual-branch adapter (Du et al., CVPR 2025, section 3.2).

In order: the conditions of a patch, the attention processor and block, the global branch, the model. With the adapter
zero-initialised, as `from_base` returns it, the output equals the base's exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401  (diffusers' loader looks for it in this module)
from diffusers.models.transformers.transformer_wan import (
    WanAttention,
    WanTransformer3DModel,
    WanTransformerBlock,
)
from torch import Tensor, nn

# All linear layers of the base blocks, none of the adapter. peft matches the full name, so `branch_blocks.0...` is
# excluded.
LORA_TARGETS = r"blocks\.\d+\.(attn[12]\.(to_q|to_k|to_v|to_out\.0)|ffn\.net\.(0\.proj|2))"
ADAPTER_KEYS = re.compile(
    r"prompt_embeds|(condition_embedding|branch_blocks|global_encoder|micro_embedder)\..*"
    r"|condition_embedder\.image_embedder\..*|blocks\.\d+\.(patch_proj|attn2\.(add_k_proj|add_v_proj|norm_added_k))\..*"
)
MICRO_CHANNELS = 64
NUM_MICRO_CONDITIONS = 6  # scale factor, four sides of the crop box, noise-augmentation timestep


@dataclass(frozen=True)
class PatchConditions:
    """Conditions of a batch of patches. They depend only on the low-quality input, not on the denoising step.

    patch_latents: (N, C, T, h, w), low-quality latents of the patch, noised to `noise_timestep`
    global_latents: (N, C, T, hg, wg), latents of the global view: the whole clip at the base's native size
    location_mask: (N, 1, hg, wg), 1 where the patch lies on the global view
    scale: (N,), upscaling factor from input to canvas
    crop_box: (N, 4), top, left, bottom, right of the patch on the canvas, 0 to 1
    noise_timestep: (N,), noise augmentation of `patch_latents`, 0 to 1000
    """

    patch_latents: Tensor
    global_latents: Tensor
    location_mask: Tensor
    scale: Tensor
    crop_box: Tensor
    noise_timestep: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> PatchConditions:
        """Move all tensors. Only latents are cast: in bfloat16 a position is off by up to 2 pixels of 512."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self)}
        moved["patch_latents"] = moved["patch_latents"].to(dtype)
        moved["global_latents"] = moved["global_latents"].to(dtype)
        return PatchConditions(**moved)


@dataclass(frozen=True)
class PatchFeatures:
    """Outputs of both branches, computed once per patch and reused at every denoising step.

    patch: (N, L, D) per branch block; only the embedded condition with `branch_input="noisy"`
    global_tokens: (N, L/4, D)
    micro: (N, D), added to the time embedding
    """

    patch: tuple[Tensor, ...]
    global_tokens: Tensor
    micro: Tensor

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (*self.patch, self.global_tokens, self.micro))

    def to(self, device: torch.device) -> PatchFeatures:
        return PatchFeatures(
            tuple(layer.to(device) for layer in self.patch), self.global_tokens.to(device), self.micro.to(device)
        )

    @staticmethod
    def cat(batch: Sequence[PatchFeatures]) -> PatchFeatures:
        """Concatenate the features of several patches along the batch dimension."""
        return PatchFeatures(
            tuple(torch.cat(layer) for layer in zip(*(one.patch for one in batch), strict=True)),
            torch.cat([one.global_tokens for one in batch]),
            torch.cat([one.micro for one in batch]),
        )


class DualCrossAttnProcessor:
    """Cross-attend to the prompt and, with separate key and value projections, to the global tokens (paper, eq. 4).

    `WanAttnProcessor` of diffusers assumes 512 text tokens; this one splits at the actual prompt length.
    """

    _attention_backend = None
    _parallel_config = None

    def __init__(self, prompt_length: int):
        self.prompt_length = prompt_length
        self.keeps = False  # keys and values of the prompt, (1, L, D) each, see `keeping_prompt`
        self.kept: tuple[Tensor, Tensor] | None = None

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        num_global = encoder_hidden_states.shape[1] - self.prompt_length
        # Contiguous, as in the base: matrix products of strided tensors round differently.
        prompt = encoder_hidden_states[:, num_global:].contiguous()
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        key, value = self._keys_and_values(attn, prompt)
        output = self._attend(attn, query, key.expand(len(query), -1, -1), value.expand(len(query), -1, -1))
        if num_global:
            global_tokens = encoder_hidden_states[:, :num_global].contiguous()
            key = attn.norm_added_k(attn.add_k_proj(global_tokens))
            output = output + self._attend(attn, query, key, attn.add_v_proj(global_tokens))
        return attn.to_out[1](attn.to_out[0](output))

    def _keys_and_values(self, attn: WanAttention, prompt: Tensor) -> tuple[Tensor, Tensor]:
        if self.kept is not None:
            return self.kept
        key, value = attn.norm_k(attn.to_k(prompt)), attn.to_v(prompt)
        if self.keeps:
            self.kept = key[:1], value[:1]
        return key, value

    def _attend(self, attn: WanAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        key, value = (x.unflatten(2, (attn.heads, -1)) for x in (key, value))
        output = dispatch_attention_fn(query, key, value, backend=self._attention_backend)
        return output.flatten(2, 3).type_as(query)


class PatchVSRBlock(WanTransformerBlock):
    """Base block that adds projected patch features to its output.

    The addition is inside the block, not between blocks, because the caching hooks of diffusers replace whole blocks.
    """

    def __init__(self, dim: int, *args: Any, prompt_length: int, added_kv_proj_dim: int | None):
        super().__init__(dim, *args, added_kv_proj_dim=added_kv_proj_dim)
        self.attn2.set_processor(DualCrossAttnProcessor(prompt_length))
        if added_kv_proj_dim is not None:
            self.patch_proj = zero_init(nn.Linear(dim, dim))
            zero_init(self.attn2.add_v_proj)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        rotary_emb: tuple[Tensor, Tensor],
        patch_features: Tensor | None = None,
        branch_scale: float = 1.0,
    ) -> Tensor:
        hidden_states = super().forward(hidden_states, encoder_hidden_states, temb, rotary_emb)
        if patch_features is not None:
            hidden_states = hidden_states + branch_scale * self.patch_proj(patch_features)
        return hidden_states


class GlobalEncoder(nn.Module):
    """Encode global latents and location mask to a quarter of the tokens, with position encoding (paper, eq. 3)."""

    def __init__(self, in_channels: int, dim: int, token_size: tuple[int, int, int]):
        super().__init__()
        stride = (token_size[0], 2 * token_size[1], 2 * token_size[2])
        self.embedding = nn.Conv3d(in_channels + 1, dim, stride, stride)
        self.mix = nn.Conv3d(dim, dim, (1, 3, 3), padding=(0, 1, 1))

    def forward(self, global_latents: Tensor, location_mask: Tensor) -> Tensor:
        mask = location_mask.unsqueeze(2).expand(-1, -1, global_latents.shape[2], -1, -1)
        x = self.embedding(torch.cat([global_latents, mask.to(global_latents)], dim=1))
        x = x + self.mix(nn.functional.silu(x))
        # Cross-attention has no rotary embedding, so the position encoding is added to the tokens.
        return x.flatten(2).transpose(1, 2) + sincos_3d(x.shape[1], x.shape[2:], x.device).to(x)


class PatchVSRTransformer3DModel(WanTransformer3DModel):
    """Wan transformer with patch branch, global branch, micro-conditions and a stored fixed prompt.

    Arguments in addition to the base's:
        condition_channels: channels of the patch and global latents.
        num_branch_blocks: blocks of the patch branch; base block i of L receives the output of branch block i * n // L.
            0: the base alone, without any part of the adapter.
        branch_input: "condition" computes patch features once, from the input alone; "noisy" adds the noisy tokens to
            the branch input and runs the branch at every step, as in ControlNet and VACE.
        prompt_length: tokens of the fixed prompt.
    """

    _no_split_modules = ["PatchVSRBlock", "WanTransformerBlock"]  # noqa: RUF012
    _repeated_blocks = ["PatchVSRBlock", "WanTransformerBlock"]  # noqa: RUF012
    # What is embedded once reaches every block; like the base's own embeddings it keeps its precision.
    _skip_layerwise_casting_patterns = [  # noqa: RUF012
        *WanTransformer3DModel._skip_layerwise_casting_patterns,
        "condition_embedding", "global_encoder", "micro_embedder",
    ]  # fmt: skip

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, int, int] = (1, 2, 2),
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        in_channels: int = 16,
        out_channels: int = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 13824,
        num_layers: int = 40,
        cross_attn_norm: bool = True,
        qk_norm: str | None = "rms_norm_across_heads",
        eps: float = 1e-6,
        rope_max_seq_len: int = 1024,
        condition_channels: int = 16,
        num_branch_blocks: int = 4,
        branch_input: Literal["condition", "noisy"] = "condition",
        prompt_length: int = 512,
    ):
        if branch_input not in ("condition", "noisy"):
            raise ValueError(f"branch_input is {branch_input!r}: choose condition or noisy")
        dim = num_attention_heads * attention_head_dim
        adapter_dim = dim if num_branch_blocks else None
        own_config: Any = self._internal_dict  # type: ignore[has-type]
        # Build the parent without blocks: ours replace them, and a 14B base should not be allocated twice.
        super().__init__(
            patch_size, num_attention_heads, attention_head_dim, in_channels, out_channels, text_dim, freq_dim,
            ffn_dim, 0, cross_attn_norm, qk_norm, eps, image_dim=adapter_dim, added_kv_proj_dim=adapter_dim,
            rope_max_seq_len=rope_max_seq_len,
        )  # fmt: skip
        self._internal_dict = own_config  # the parent's constructor registered its own arguments
        block_args = (dim, ffn_dim, num_attention_heads, qk_norm, cross_attn_norm, eps)
        self.blocks = nn.ModuleList(
            PatchVSRBlock(*block_args, prompt_length=prompt_length, added_kv_proj_dim=adapter_dim)
            for _ in range(num_layers)
        )
        self.branch_blocks = nn.ModuleList(WanTransformerBlock(*block_args) for _ in range(num_branch_blocks))
        if adapter_dim is not None:
            self.condition_embedding = nn.Conv3d(condition_channels, dim, patch_size, patch_size)
            self.global_encoder = GlobalEncoder(condition_channels, dim, patch_size)
            self.micro_embedder = MicroEmbedder(dim)
        self.prompt_embeds = nn.Parameter(torch.zeros(1, prompt_length, text_dim))

    # --- branches -----------------------------------------------------------------------------------------

    def encode_conditions(self, conditions: PatchConditions) -> PatchFeatures:
        """Run both branches, once per patch before denoising. A base without an adapter has none."""
        micro = self.micro_embedder(conditions)
        global_tokens = self.global_encoder(conditions.global_latents, conditions.location_mask)
        global_tokens = self.condition_embedder.image_embedder(global_tokens)
        tokens = self.condition_embedding(conditions.patch_latents)
        tokens = tokens.flatten(2).transpose(1, 2).contiguous()  # (N, L, D)
        if self.config.branch_input == "noisy":
            return PatchFeatures((tokens,), global_tokens, micro)
        # The branch blocks are copies of base blocks, so the timestep is the noise level of the condition.
        _, time_proj, prompt = self._embed_time_and_prompt(conditions.noise_timestep, None, micro)
        rotary_emb = self.rope(conditions.patch_latents)
        return PatchFeatures(self._run_branch(tokens, prompt, time_proj, rotary_emb), global_tokens, micro)

    def _run_branch(
        self, tokens: Tensor, prompt: Tensor, time_proj: Tensor, rotary_emb: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, ...]:
        features = []
        for block in self.branch_blocks:
            tokens = self._run_block(block, tokens, prompt, time_proj, rotary_emb)
            features.append(tokens)
        return tuple(features)

    def _embed_time_and_prompt(
        self, timestep: Tensor, encoder_hidden_states: Tensor | None, micro: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        if encoder_hidden_states is None:
            # Repeat, not expand: matrix products of strided tensors round differently once the prompt is frozen.
            # When layers are offloaded, this parameter is on the host, as it belongs to none.
            encoder_hidden_states = self.prompt_embeds.to(timestep.device).repeat(timestep.shape[0], 1, 1)
        if encoder_hidden_states.shape[1] != self.config.prompt_length:
            raise ValueError(
                f"got a prompt of {encoder_hidden_states.shape[1]} tokens; the model needs {self.config.prompt_length}"
            )
        embedder = self.condition_embedder
        temb, _, prompt, _ = embedder(timestep, encoder_hidden_states)
        if micro is not None:
            temb = temb + micro.type_as(temb)
        return temb, embedder.time_proj(embedder.act_fn(temb)).unflatten(1, (6, -1)), prompt

    @contextmanager
    def keeping_prompt(self) -> Iterator[None]:
        """Compute keys and values of the fixed prompt at the first call inside, for all patches and steps.

        That changes no bit as long as patches come one by one. For inference, and for calls without
        `encoder_hidden_states`. A block computes its own when it is called: only then are its weights surely at hand.
        """
        blocks: list[Any] = list(self.blocks)
        processors = [block.attn2.processor for block in blocks]
        try:
            for processor in processors:
                processor.keeps = True
            yield
        finally:
            for processor in processors:
                processor.keeps, processor.kept = False, None

    def _run_block(self, block: nn.Module, *args: Any) -> Tensor:
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(block, *args)
        return block(*args)

    # --- denoising ----------------------------------------------------------------------------------------

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor | None = None,
        features: PatchFeatures | None = None,
        branch_scale: float = 1.0,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Predict the velocity of noisy latents.

        Args:
            hidden_states: (N, C, T, h, w) noisy latents of N patches.
            timestep: (N,), 1000 * sigma.
            encoder_hidden_states: (N, prompt_length, text_dim); the stored fixed prompt if None.
            features: from `encode_conditions`; if None, the model is the (LoRA-adapted) base.
            branch_scale: strength of the patch branch.
        """
        num_patches, _, num_frames, height, width = hidden_states.shape
        p_t, p_h, p_w = self.config.patch_size
        if num_frames % p_t or height % p_h or width % p_w:
            raise ValueError(f"latents {tuple(hidden_states.shape)} are no multiple of the token {(p_t, p_h, p_w)}")

        # 1. Tokens
        rotary_emb = self.rope(hidden_states)
        tokens = self.patch_embedding(hidden_states).flatten(2).transpose(1, 2).contiguous()  # (N, L, D)

        # 2. Time, micro-conditions, prompt and global tokens
        micro = None if features is None else features.micro
        temb, time_proj, prompt = self._embed_time_and_prompt(timestep, encoder_hidden_states, micro)
        context = prompt if features is None else torch.cat([features.global_tokens.type_as(prompt), prompt], dim=1)

        # 3. Patch features
        patch_features: tuple[Tensor, ...] = () if features is None else features.patch
        if features is not None and self.config.branch_input == "noisy":
            patch_features = self._run_branch(tokens + patch_features[0], prompt, time_proj, rotary_emb)

        # 4. Blocks
        for index, block in enumerate(self.blocks):
            hint = None
            if patch_features:
                hint = patch_features[index * len(patch_features) // len(self.blocks)]
            tokens = self._run_block(block, tokens, context, time_proj, rotary_emb, hint, branch_scale)

        # 5. Output norm, projection, back to latents
        shift, scale = (self.scale_shift_table + temb.unsqueeze(1)).chunk(2, dim=1)
        tokens = (self.norm_out(tokens.float()) * (1 + scale) + shift).type_as(tokens)
        tokens = self.proj_out(tokens)
        tokens = tokens.reshape(num_patches, num_frames // p_t, height // p_h, width // p_w, p_t, p_h, p_w, -1)
        sample = tokens.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)

    # --- from a base, and back to the adapter alone -------------------------------------------------------

    @classmethod
    def from_base(
        cls, base: WanTransformer3DModel, *, prompt_embeds: Tensor | None = None, **adapter_config: Any
    ) -> PatchVSRTransformer3DModel:
        """Build the model on a base, with a zero-initialised adapter.

        The base's weights are shared, not copied. The branch blocks are copies of base blocks. `prompt_embeds`
        (1, prompt_length, text_dim) is the base's text embedding of the fixed prompt.

        Raises ValueError if the base is not a plain text-to-video Wan transformer.
        """
        if prompt_embeds is not None:
            adapter_config["prompt_length"] = prompt_embeds.shape[1]
        base_config = {name: value for name, value in base.config.items() if not name.startswith("_")}
        for name in ("image_dim", "added_kv_proj_dim", "pos_embed_seq_len"):
            if base_config.pop(name, None) is not None:
                raise ValueError(f"the base has {name}: give a text-to-video base, not an image-to-video one")
        model = cls(**base_config, **adapter_config)
        cast_as_loaded(model, base.dtype)
        # Assign, not copy: a large base stays in memory once, and its float32 layers stay float32.
        missing, unexpected = model.load_state_dict(base.state_dict(), strict=False, assign=True)
        if unexpected or set(missing) != set(model.adapter_state_dict()):
            raise ValueError(f"the base does not fit: unexpected {unexpected[:3]}, missing {sorted(missing)[:3]}")
        step = max(1, len(model.blocks) // max(1, len(model.branch_blocks)))
        for index, block in enumerate(model.branch_blocks):
            source = base.blocks[min(index * step, len(base.blocks) - 1)].state_dict()
            block.load_state_dict({name: value.clone() for name, value in source.items()}, assign=True)
        if prompt_embeds is not None:
            with torch.no_grad():
                model.prompt_embeds.copy_(prompt_embeds)
        return model

    @property
    def has_adapter(self) -> bool:
        """Whether there is a patch branch. A base without one knows the input by the start of denoising only."""
        return self.config.num_branch_blocks > 0

    def adapter_state_dict(self) -> dict[str, Tensor]:
        """Return the tensors of the adapter: all that the base lacks, except LoRA."""
        return {name: value for name, value in self.state_dict().items() if ADAPTER_KEYS.fullmatch(name)}

    def base_state_dict(self) -> dict[str, Tensor]:
        """Return the tensors of the base under the names that they have in the base."""
        return {
            name.replace(".base_layer.", "."): value
            for name, value in self.state_dict().items()
            if not ADAPTER_KEYS.fullmatch(name) and ".lora_" not in name
        }

    def train_adapter_and_lora(self, *, rank: int = 16) -> None:
        """Add LoRA to the base's blocks (unless `rank` is 0) and make only LoRA and adapter trainable.

        The fixed prompt stays frozen. peft freezes all other parameters, so the adapter is unfrozen afterwards.
        """
        self.requires_grad_(False)
        if rank:
            from peft import LoraConfig

            self.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=LORA_TARGETS))
        for name, parameter in self.named_parameters():
            if ADAPTER_KEYS.fullmatch(name) and name != "prompt_embeds":
                parameter.requires_grad_(True)


class MicroEmbedder(nn.Module):
    """Embed scale factor, crop box and noise-augmentation timestep as (N, D), added to the time embedding."""

    def __init__(self, dim: int):
        super().__init__()
        self.frequencies = Timesteps(MICRO_CHANNELS, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.mlp = TimestepEmbedding(NUM_MICRO_CONDITIONS * MICRO_CHANNELS, dim)
        zero_init(self.mlp.linear_2)

    def forward(self, conditions: PatchConditions) -> Tensor:
        # Scale to about 0..1000, the range that sinusoidal timestep embeddings are designed for.
        scale = conditions.scale.float().log2().unsqueeze(1) * 250
        values = torch.cat(
            [scale, conditions.crop_box.float() * 1000, conditions.noise_timestep.float().unsqueeze(1)], 1
        )
        embedded = self.frequencies(values.flatten()).unflatten(0, values.shape).flatten(1)
        return self.mlp(embedded.to(self.mlp.linear_1.weight.dtype))


def cast_as_loaded(module: nn.Module, dtype: torch.dtype) -> None:
    """Cast in place to what diffusers would load in `dtype`: layers that it keeps in float32 (norms, time) stay."""
    keep = getattr(module, "_keep_in_fp32_modules", None) or ()
    for name, parameter in module.named_parameters():
        if not any(part in keep for part in name.split(".")):
            parameter.data = parameter.data.to(dtype)


def zero_init(linear: nn.Linear) -> nn.Linear:
    """Zero weight and bias in place, and return the layer."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def sincos_3d(dim: int, grid: tuple[int, ...] | torch.Size, device: torch.device) -> Tensor:
    """Return a sine-cosine position encoding (L, dim): time by frame index, height and width relative to the frame."""
    time, height, width = grid
    positions = torch.meshgrid(
        torch.arange(time, device=device, dtype=torch.float32) * 10,
        (torch.arange(height, device=device) + 0.5) / height * 1000,
        (torch.arange(width, device=device) + 0.5) / width * 1000,
        indexing="ij",
    )
    channels = [dim - 2 * (dim // 3), dim // 3, dim // 3]
    codes = [_sincos(p.flatten(), c) for p, c in zip(positions, channels, strict=True)]
    return torch.cat(codes, dim=1)


def _sincos(positions: Tensor, channels: int) -> Tensor:
    half = (channels + 1) // 2
    rates = 10000.0 ** (-torch.arange(half, device=positions.device) / half)
    angles = positions.unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :channels]
