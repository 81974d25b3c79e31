"""The dual-branch transformer against its base, against diffusers' VACE, and against itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
import toy
from diffusers import WanTransformer3DModel, WanVACETransformer3DModel
from torch import Tensor, nn

from patchvsr.models.transformer import PatchConditions, PatchFeatures, PatchVSRTransformer3DModel, zero_init

BRANCH_INPUTS = ["condition", "noisy"]


@torch.no_grad()
def velocity(model: PatchVSRTransformer3DModel, conditions: PatchConditions | None = None, **arguments: Any) -> Tensor:
    features = None if conditions is None else model.encode_conditions(conditions)
    return model(toy.noisy_latents(), toy.timesteps(), features=features, **arguments).sample


# --- the adapter starts at zero ----------------------------------------------------------------------------


@pytest.mark.parametrize("branch_input", BRANCH_INPUTS)
@pytest.mark.parametrize("rank", [0, 2])
def test_untrained_adapter_and_lora_change_nothing(branch_input: str, rank: int) -> None:
    base = toy.randomised(toy.base())
    model = toy.transformer(base, branch_input=branch_input)
    with torch.no_grad():
        prompt = model.prompt_embeds.repeat(2, 1, 1)
        expected = base(toy.noisy_latents(), toy.timesteps(), prompt).sample
    model.train_adapter_and_lora(rank=rank)
    assert torch.equal(velocity(model), expected)
    assert torch.equal(velocity(model, toy.conditions()), expected)


# --- equal to VACE where both can express the same ----------------------------------------------------------


@torch.no_grad()
def vace_oracle(base: WanTransformer3DModel, model: PatchVSRTransformer3DModel) -> WanVACETransformer3DModel:
    """VACE with the weights of `model`: control layers 0 and 2 of 4 stand for two branch blocks.

    VACE gives a hint to these layers only, so `model` must not project hints in the others; and its control
    blocks attend to image tokens too, which zero values switch off.
    """
    dim = model.scale_shift_table.shape[-1]
    config = {k: v for k, v in base.config.items() if not k.startswith("_")}
    config |= dict(image_dim=dim, added_kv_proj_dim=dim)
    vace = WanVACETransformer3DModel(**config, vace_layers=[0, 2], vace_in_channels=toy.CONDITION_CHANNELS).eval()
    own = model.state_dict()
    _, unexpected = vace.load_state_dict({k: v for k, v in own.items() if k in vace.state_dict()}, strict=False)
    assert not unexpected

    # VACE embeds the condition twice: its convolution and `proj_in` together are our one convolution.
    toy.randomised(vace.vace_patch_embedding)
    proj_in = toy.randomised(vace.vace_blocks[0].proj_in)
    weight, bias = vace.vace_patch_embedding.weight, vace.vace_patch_embedding.bias
    model.condition_embedding.weight.copy_(torch.einsum("od,dcthw->octhw", proj_in.weight, weight))
    model.condition_embedding.bias.copy_(proj_in(bias))

    for index, (block, hinted) in enumerate(zip(vace.vace_blocks, (0, 2), strict=True)):
        block.load_state_dict(model.branch_blocks[index].state_dict(), strict=False)
        nn.init.zeros_(block.attn2.add_v_proj.weight)
        nn.init.zeros_(block.attn2.add_v_proj.bias)
        block.proj_out.load_state_dict(model.blocks[hinted].patch_proj.state_dict())
        nn.init.zeros_(model.blocks[hinted + 1].patch_proj.weight)
        nn.init.zeros_(model.blocks[hinted + 1].patch_proj.bias)
    return vace


def test_equals_vace() -> None:
    base = toy.base()
    # diffusers' attention takes all but the last 512 tokens for image tokens.
    model = toy.randomised(toy.transformer(base, branch_input="noisy", prompt_length=512))
    zero_init(model.micro_embedder.mlp.linear_2)  # VACE has no micro-conditions
    vace = vace_oracle(base, model)
    conditions = toy.conditions()
    with torch.no_grad():
        expected = vace(
            toy.noisy_latents(),
            toy.timesteps(),
            model.prompt_embeds.repeat(2, 1, 1),
            encoder_hidden_states_image=model.global_encoder(conditions.global_latents, conditions.location_mask),
            control_hidden_states=conditions.patch_latents,
            control_hidden_states_scale=torch.tensor([0.7, 0.7]),
        ).sample
    torch.testing.assert_close(velocity(model, conditions, branch_scale=0.7), expected)


# --- everything it is told matters --------------------------------------------------------------------------


def crop_side(side: int) -> Tensor:
    return toy.conditions().crop_box + 0.1 * torch.eye(4)[side]


CHANGES = {
    "patch latents": dict(patch_latents=toy.conditions().patch_latents + 0.1),
    "global view": dict(global_latents=toy.conditions().global_latents + 0.1),
    "location": dict(location_mask=toy.conditions().location_mask.roll(1, dims=-1)),
    "scale": dict(scale=torch.tensor([3.0, 3.0])),
    "top": dict(crop_box=crop_side(0)),
    "left": dict(crop_box=crop_side(1)),
    "bottom": dict(crop_box=crop_side(2)),
    "right": dict(crop_box=crop_side(3)),
    "noise augmentation": dict(noise_timestep=torch.tensor([250.0, 250.0])),
}


@pytest.mark.parametrize("branch_input", BRANCH_INPUTS)
@pytest.mark.parametrize("changed", CHANGES)
def test_every_condition_changes_the_velocity(changed: str, branch_input: str) -> None:
    model = toy.randomised(toy.transformer(branch_input=branch_input))
    conditions = toy.conditions()
    before, after = velocity(model, conditions), velocity(model, replace(conditions, **CHANGES[changed]))
    assert (after - before).abs().amax(dim=(1, 2, 3, 4)).min() > 1e-5


@torch.no_grad()
def test_the_prompt_that_is_kept_changes_no_bit() -> None:
    model = toy.randomised(toy.transformer())
    projected = []
    model.blocks[0].attn2.to_k.register_forward_hook(lambda *_: projected.append(1))
    noisy, timesteps, features = toy.noisy_latents(), toy.timesteps(), model.encode_conditions(toy.conditions())

    def velocities() -> list[Tensor]:
        every = zip(noisy.split(1), timesteps.split(1), map(features_of, range(len(noisy))), strict=True)
        return [model(patch, time, features=one).sample for patch, time, one in every]

    def features_of(index: int) -> PatchFeatures:
        tokens, micro = (part[index : index + 1] for part in (features.global_tokens, features.micro))
        return PatchFeatures(tuple(layer[index : index + 1] for layer in features.patch), tokens, micro)

    expected = velocities()
    assert len(projected) == len(noisy) > 1
    with model.keeping_prompt():
        kept, together = velocities(), model(noisy, timesteps, features=features).sample
    assert len(projected) == len(noisy) + 1
    assert all(torch.equal(one, other) for one, other in zip(kept, expected, strict=True))
    torch.testing.assert_close(together, torch.cat(expected), atol=1e-5, rtol=1e-4)
    model.prompt_embeds.add_(1)  # nothing is left of it afterwards
    assert not torch.equal(velocities()[0], expected[0])


def test_prompt_and_strength_of_the_branch_change_the_velocity() -> None:
    model = toy.randomised(toy.transformer())
    conditions = toy.conditions()
    default = velocity(model, conditions)
    stored = model.prompt_embeds.repeat(2, 1, 1)
    assert torch.equal(velocity(model, conditions, encoder_hidden_states=stored), default)
    assert not torch.allclose(velocity(model, conditions, encoder_hidden_states=stored + 1), default, atol=1e-4)
    assert not torch.allclose(velocity(model, conditions, branch_scale=0.5), default, atol=1e-4)


def test_global_tokens_know_their_place() -> None:
    """Cross-attention is blind to order: without a position code, an even view would give equal tokens."""
    encoder = toy.transformer().global_encoder
    zero_init(encoder.mix)  # which sees the frame's borders
    with torch.no_grad():
        view, mask = torch.ones(1, toy.CONDITION_CHANNELS, 3, 8, 16), torch.zeros(1, 1, 8, 16)
        tokens = encoder(view, mask)
    assert tokens.shape == (1, 3 * 2 * 4, 24)  # a quarter of the 3 x 4 x 8 tokens of a patch of this size
    assert torch.pdist(tokens[0]).min() > 0.5


def test_patches_of_a_batch_do_not_see_each_other() -> None:
    model = toy.randomised(toy.transformer())
    conditions = replace(toy.conditions(), scale=torch.tensor([4.0, 2.0]))
    together = velocity(model, conditions)
    with torch.no_grad():
        single = [
            model.encode_conditions(PatchConditions(**{k: v[i : i + 1] for k, v in vars(conditions).items()}))
            for i in range(2)
        ]
        for i, features in enumerate(single):
            alone = model(toy.noisy_latents()[i : i + 1], toy.timesteps()[i : i + 1], features=features).sample
            torch.testing.assert_close(together[i : i + 1], alone)
        joined = model(toy.noisy_latents(), toy.timesteps(), features=PatchFeatures.cat(single)).sample
    torch.testing.assert_close(joined, together)


# --- training -----------------------------------------------------------------------------------------------


def gradients(model: PatchVSRTransformer3DModel) -> dict[str, Tensor]:
    model.zero_grad()
    features = model.encode_conditions(toy.conditions())
    model(toy.noisy_latents(), toy.timesteps(), features=features).sample.square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("branch_input", BRANCH_INPUTS)
def test_gradient_checkpointing_gives_the_same_gradients(branch_input: str) -> None:
    model = toy.randomised(toy.transformer(branch_input=branch_input))
    plain = gradients(model)
    assert plain.keys() == dict(model.named_parameters()).keys()  # nothing is left out of the graph

    runs = Counter[nn.Module]()
    blocks = [*model.blocks, *model.branch_blocks]
    for block in blocks:
        block.register_forward_pre_hook(lambda block, _: runs.update([block]))
    model.enable_gradient_checkpointing()
    checkpointed = gradients(model)
    assert set(runs.values()) == {2} and len(runs) == len(blocks)  # forward, and again for backward
    for name, gradient in plain.items():
        assert torch.equal(gradient, checkpointed[name]), name


def test_lora_touches_the_base_blocks_only() -> None:
    model = toy.transformer()
    adapter = set(model.adapter_state_dict())
    model.train_adapter_and_lora(rank=2)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    layers = [f"{a}.{p}" for a in ("attn1", "attn2") for p in ("to_q", "to_k", "to_v", "to_out.0")]
    layers += ["ffn.net.0.proj", "ffn.net.2"]
    lora = {f"blocks.{i}.{n}.lora_{x}.default.weight" for i in range(4) for n in layers for x in "AB"}
    assert trained == lora | adapter - {"prompt_embeds"}


def test_without_rank_the_adapter_alone_is_trained() -> None:
    model = toy.transformer()
    model.train_adapter_and_lora(rank=0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == set(model.adapter_state_dict()) - {"prompt_embeds"}


# --- built around a base ------------------------------------------------------------------------------------


def test_base_is_shared_and_the_branch_is_a_copy() -> None:
    base = toy.base()
    model = toy.transformer(base)
    own = dict(model.named_parameters())
    assert all(own[name].data_ptr() == weight.data_ptr() for name, weight in base.named_parameters())
    for index, source in enumerate((0, 2)):
        copies = model.branch_blocks[index].state_dict()
        for name, weight in base.blocks[source].state_dict().items():
            assert torch.equal(copies[name], weight) and copies[name].data_ptr() != weight.data_ptr()
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def test_bfloat16_base_keeps_its_float32_layers() -> None:
    base = toy.randomised(toy.base())
    exact = toy.randomised(toy.transformer(base))
    model = toy.transformer(toy.bfloat16(base))
    assert model.dtype == torch.bfloat16
    assert model.blocks[0].norm2.weight.dtype == model.branch_blocks[0].norm2.weight.dtype == torch.float32
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(exact.state_dict()[name])
        features = model.encode_conditions(toy.conditions().to("cpu", torch.bfloat16))
        rough = model(toy.noisy_latents().bfloat16(), toy.timesteps(), features=features).sample
    expected = velocity(exact, toy.conditions())
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - expected).norm() < 0.03 * expected.norm()


def test_places_and_scales_stay_in_float32() -> None:
    conditions = toy.conditions().to("cpu", torch.bfloat16)
    types = {name: value.dtype for name, value in vars(conditions).items()}
    assert types.pop("patch_latents") == types.pop("global_latents") == torch.bfloat16
    assert set(types.values()) == {torch.float32}


def test_refusals() -> None:
    model = toy.transformer()
    with pytest.raises(ValueError, match="no multiple of the token"):
        model(torch.zeros(1, toy.LATENT_CHANNELS, 2, 4, 5), toy.timesteps(1))
    with pytest.raises(ValueError, match="prompt of 4 tokens; the model needs 3"):
        model(toy.noisy_latents(), toy.timesteps(), toy.randn(2, 4, toy.TEXT_DIM))
    with pytest.raises(ValueError, match="choose condition or noisy"):
        toy.transformer(branch_input="both")
    with pytest.raises(ValueError, match="the base has image_dim"):
        toy.transformer(toy.base(image_dim=24, added_kv_proj_dim=24))
