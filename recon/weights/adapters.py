"""LoRA adapters of Hugging Face's PEFT, merged into the base model: W + scale·BA."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from recon import reading
from recon.errors import ReconError
from recon.reading import refused
from recon.weights.names import natural

CONFIG = "adapter_config.json"
MODEL = re.compile(r"(base_model\.model\.)?(?P<own>.+)")
HALF = re.compile(r"(?P<layer>.+)\.lora_(?P<half>[AB])(\.\w+)?\.weight")
COPY = re.compile(r"(?P<layer>.+?)(\.(modules_to_save|base_layer)(\.default)?)?\.(?P<word>weight|bias)")
Arrays = Mapping[str, np.ndarray]


class Config(msgspec.Struct):
    """What PEFT's adapter_config.json tells of an adapter, but for what does not change its sum."""

    peft_type: str
    r: int
    lora_alpha: float
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}

    def scale(self, layer: str, rank: int) -> float:
        """What the product of a layer's halves counts with: alpha over r, of rank-stabilised LoRA over its root."""
        told = (alpha for key, alpha in self.alpha_pattern.items() if re.fullmatch(rf"(.*\.)?{re.escape(key)}", layer))
        return next(told, self.lora_alpha) / (math.sqrt(rank) if self.use_rslora else rank)


def config_of(path: Path) -> Config:
    """The configuration beside an adapter's file, or in its folder.

    Raises:
      ReconError: it is absent or damaged, or of an adapter that is no plain LoRA.
    """
    place = (path if path.is_dir() else path.parent) / CONFIG
    if not place.is_file():
        raise ReconError(f"{place} is missing, which tells what the adapter {path.name} counts with: copy it there.")
    with refused(f"{place} is no configuration of PEFT's", "give the one that was saved with the adapter"):
        found = reading.json(place, Config)
        if found.r < 1 or not math.isfinite(found.lora_alpha):
            raise ValueError(f"its r is {found.r} and its lora_alpha {found.lora_alpha}")
    if found.peft_type != "LORA" or found.use_dora:
        kind = "DoRA" if found.use_dora else found.peft_type
        raise ReconError(
            f"{place} is of {kind}, not of plain LoRA: save the model with model.merge_and_unload() as --final."
        )
    return found


def merged(base: Arrays, adapter: Arrays, config: Config, where: str) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """The base's weights with an adapter's changes added, in float64, and the rank of each of these by array.

    Layers that were trained whole beside it, PEFT's modules_to_save and biases, take the place of the base's.

    Raises:
      ReconError: the adapter does not fit the base.
    """
    halves: dict[str, dict[str, np.ndarray]] = {}
    made, ranks = dict(base), {}
    for name in sorted(adapter, key=natural):
        own = MODEL.fullmatch(name)
        half = own and HALF.fullmatch(own["own"])
        if half:
            halves.setdefault(half["layer"], {})[half["half"]] = adapter[name].astype(np.float64)
            continue
        copy = own and COPY.fullmatch(own["own"])
        target = f"{copy['layer']}.{copy['word']}" if copy else name
        if not copy or target not in base or base[target].shape != adapter[name].shape:
            raise ReconError(
                f"{where} holds {name}, which is no part of LoRA for this base model: save the model with "
                "model.merge_and_unload() as --final."
            )
        made[target] = adapter[name]
    if not halves:
        raise ReconError(f"{where} holds no LoRA adapter (lora_A, lora_B): give whole weights by --final.")
    for layer, parts in halves.items():
        target = f"{layer}.weight"
        if target not in base:
            raise ReconError(
                f"{where} changes {target}, which the base model does not hold: give its own base by --init."
            )
        kernel, a, b = base[target], parts.get("A"), parts.get("B")
        shape = kernel.shape[::-1] if config.fan_in_fan_out else kernel.shape
        rank = len(a) if a is not None and a.ndim == 2 else 0
        if (
            a is None
            or b is None
            or rank < 1
            or kernel.ndim != 2
            or (b.shape, a.shape) != ((shape[0], rank), (rank, shape[1]))
        ):
            raise ReconError(
                f"{where} does not fit {target} of shape {kernel.shape}: give the base model it was made for."
            )
        change = config.scale(layer, rank) * b @ a
        made[target] = kernel + (change.T if config.fan_in_fan_out else change)
        ranks[target] = rank
    return made, ranks
