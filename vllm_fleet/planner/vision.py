"""The encoders beside a language model: their parameters, a few percent of most models, and what a step of them holds.

Counted from vision_config by the tower's kind (transformers 5.19, `modeling_*.py`); biases and positions included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vllm_fleet.planner.model_config import ModelConfig, TextConfig

_LARGEST_IMAGE = 16384
"""Tokens of the largest image that a model takes whose files name no size (Qwen's processors: 12.8 million pixels)."""


@dataclass(frozen=True)
class Encoders:
    """The encoders of a model."""

    parameters: int
    """Of the vision tower, its projector and the audio tower."""
    image_tokens: int = 0
    """Tokens that the largest image becomes; 0 without vision."""
    patches: int = 0
    """Patches behind each of these tokens."""
    split_width: int = 0
    """Elements a patch of the feed-forward, which tensor parallelism divides."""
    whole_width: int = 0
    """Elements a patch beside it: the pixels, and the copies of the hidden states."""

    def elements(self, batched_tokens: int, tensor_parallel_size: int) -> int:
        """What the encoder holds at once when vLLM profiles it: as many of the largest images as a step of
        `batched_tokens` has room for, at least one (0.33, v1/worker/gpu/model_runner.py, profile_run)."""
        if not self.image_tokens:
            return 0
        images = max(1, batched_tokens // self.image_tokens)
        width = self.split_width // tensor_parallel_size + self.whole_width
        return images * self.image_tokens * self.patches * width


def encoders_of(config: ModelConfig) -> Encoders:
    """The encoders of a config.json; none for a text model."""
    audio = _Tower(config.audio, "").parameters() if config.audio else 0
    if not config.vision:
        return Encoders(audio)
    tower = _Tower(config.vision, config.text.model_type)
    image_tokens, patches = _image(tower, config)
    return Encoders(
        parameters=audio + tower.parameters() + _projector(tower, config),
        image_tokens=image_tokens,
        patches=patches,
        split_width=(3 if tower.gated else 2) * tower.intermediate,
        whole_width=4 * tower.hidden + tower.channels * tower.frames * tower.patch**2,
    )


def _image(tower: _Tower, config: ModelConfig) -> tuple[int, int]:
    """(tokens of the largest image, patches a token)."""
    patches = (tower.image // tower.patch) ** 2 if tower.image else 0
    fixed = config.projector.get("mm_tokens_per_image")
    if isinstance(fixed, int) and 0 < fixed <= patches:  # Gemma 3 pools its patches
        return fixed, patches // fixed
    merge = config.projector.get("spatial_merge_size", tower.merge)
    joined = merge**2 if isinstance(merge, int) and 0 < merge < 100 else 1
    return max(patches // joined, 1) if patches else _LARGEST_IMAGE, joined


class _Tower:
    """A vision transformer's sizes, under any of the names they have."""

    def __init__(self, values: dict[str, Any], text_kind: str) -> None:
        self.kind = str(values.get("model_type") or text_kind)
        self.values = values
        self.out = self._first("out_hidden_size", "output_dim")
        self.hidden = self._first("embed_dim", "hidden_size", "d_model", "width")
        if self.kind == "qwen2_vl":  # there hidden_size is the language model's
            self.out = self._first("hidden_size")
        self.layers = self._first("depth", "num_hidden_layers", "encoder_layers", "layers")
        self.intermediate = self._first("intermediate_size", "encoder_ffn_dim", "mlp_hidden_size") or 4 * self.hidden
        self.patch = self._first("patch_size", "spatial_patch_size") or 14
        self.image = self._first("image_size")
        self.merge = self._first("spatial_merge_size") or 1
        self.channels = self._first("num_channels", "in_channels", "in_chans") or 3
        deep = values.get("deepstack_visual_indexes")
        self.deep_outputs = len(deep) if isinstance(deep, list) else 0
        """Layers whose output goes into the language model beside the last one's (Qwen3-VL)."""
        self.positions = self._first("num_position_embeddings")
        self.frames = self._first("temporal_patch_size") or 1

    def _first(self, *names: str) -> int:
        """The first of these that is a number; sizes that vary by layer are taken from the first layer."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, list) and value:
                value = value[0]
            if isinstance(value, int) and 0 < value < 10**7:
                return value
        return 0

    @property
    def gated(self) -> bool:
        return self.kind in ("pixtral", "qwen2_5_vl", "qwen2_5_vl_vision", "glm4v", "glm4v_vision")

    def parameters(self) -> int:
        hidden, intermediate = self.hidden, self.intermediate
        biases = 0 if self.kind == "pixtral" else 4 * hidden + 2 * intermediate
        feed_forward = (3 if self.gated else 2) * hidden * intermediate
        layer = 4 * hidden * hidden + feed_forward + biases + 4 * hidden
        positions = self.positions
        if self.image and self.kind.startswith(("siglip", "clip")):
            positions = (self.image // self.patch) ** 2
        patches = self.channels * self.frames * self.patch**2 * hidden
        return self.layers * layer + patches + positions * hidden


def _projector(tower: _Tower, config: ModelConfig) -> int:
    """What turns the tower's output into the language model's embeddings."""
    text: TextConfig = config.text
    if tower.kind.startswith(("qwen", "glm")):  # the merger joins merge x merge patches
        joined = tower.hidden * tower.merge**2
        merger = joined * joined + joined * (tower.out or text.hidden_size) + 2 * joined
        return merger * (1 + tower.deep_outputs)
    if text.model_type.startswith("gemma3"):
        return tower.hidden * text.hidden_size
    merge = config.projector.get("spatial_merge_size")
    joined = tower.hidden * (merge**2 if isinstance(merge, int) and 0 < merge < 100 else 1)
    merger = joined * tower.hidden if joined > tower.hidden else 0
    return merger + tower.hidden * text.hidden_size + text.hidden_size**2
