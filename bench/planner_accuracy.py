"""What `fleet plan` says of a GPU's memory beside what vLLM said: `python -m bench.planner_accuracy`.

Prints the table of docs/planning.md from docs/measurements/memory-h200-vllm-0.33.json (bench/memory_truth.py). Needs no
GPU.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.memory_truth import catalogued, merged
from vllm_fleet.planner.catalogue import subject_of
from vllm_fleet.planner.memory import Estimate, estimate
from vllm_fleet.planner.model_config import parse_model_config
from vllm_fleet.planner.settings import Settings
from vllm_fleet.schema.gpu import gpu

MEASUREMENTS = Path(__file__).parents[1] / "docs" / "measurements"
MEASURED = MEASUREMENTS / "memory-h200-vllm-0.33.json"
EARLIER = MEASUREMENTS / "memory-h200.json"
"""The same with vLLM 0.26."""

NOT_COMPARED = {
    "llama-3.1-8b lora": "adapters are not counted",
    "qwen2.5-vl-7b text only": "limit-mm-per-prompt leaves the vision tower out, which is not counted",
    "mistral-small-3.1-24b": "transformers 5.17 tied the embeddings of this config.json, the checkpoint does not",
    "qwen3-embedding-0.6b pooling": "runner=pooling samples nothing, which is not counted",
}
"""Cases that measure what the planner does not claim to know, and why."""

_FIELDS = set(Settings.__dataclass_fields__)


@dataclass(frozen=True)
class Comparison:
    """One measured start, and the planner's estimate of it. Sizes in bytes."""

    name: str
    measured: dict[str, Any]
    found: Estimate

    @property
    def tokens(self) -> float:
        """The planner's KV-cache tokens against vLLM's: 0.01 is 1 % too many."""
        return self.found.kv_cache_tokens / int(self.measured["kv_tokens"]) - 1

    @property
    def weights(self) -> float:
        """The same for the weights of the first GPU."""
        return self.found.stages[0].weights / int(self.measured["weights"]) - 1


def comparisons(measured: Path = MEASURED) -> Iterator[Comparison]:
    """Every measured case that started, has a KV cache, and is the planner's business."""
    for case in json.loads(measured.read_text())["cases"]:
        if "kv_tokens" not in case or case["name"] in NOT_COMPARED:
            continue
        config = parse_model_config(merged(catalogued(case["model"]), case.get("config_changes", {})), case["model"])
        subject = subject_of(config)
        if draft := case.get("draft_model"):
            subject = replace(subject, draft=subject_of(parse_model_config(catalogued(draft), draft)))
        yield Comparison(case["name"], case, estimate(subject, _settings(case), gpu("h200")))


def _settings(case: dict[str, Any]) -> Settings:
    options = {"gpu_memory_utilization": 0.9, "max_model_len": 8192, "enforce_eager": True, **case.get("options", {})}
    # what the engine took where it was not told: the offline class has other defaults than `vllm serve`
    options |= {key: case[key] for key in ("max_num_batched_tokens", "max_num_seqs")}
    return Settings(**{name: value for name, value in options.items() if name in _FIELDS})


def main() -> None:
    print("| case | weights GiB | KV cache GiB | KV-cache tokens | weights off | tokens off |")
    print("|---|---|---|---|---|---|")
    for each in comparisons():
        stage, measured = each.found.stages[0], each.measured
        pairs = ((stage.weights, measured["weights"]), (stage.kv_cache, measured["kv_bytes"]))
        sizes = " | ".join(f"{planned / 2**30:.2f} / {said / 2**30:.2f}" for planned, said in pairs)
        tokens = f"{each.found.kv_cache_tokens:,} / {measured['kv_tokens']:,}"
        print(f"| {each.name} | {sizes} | {tokens} | {each.weights:+.2%} | {each.tokens:+.2%} |")


if __name__ == "__main__":
    main()
