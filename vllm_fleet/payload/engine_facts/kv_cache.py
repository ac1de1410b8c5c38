"""How many tokens an engine's KV cache holds, as the engine itself counts them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

# Its labels are vLLM's cache configuration, which PromQL cannot turn into numbers. `kv_cache_size_tokens` is what vLLM
# logs; blocks times their size is more where layers with a window keep less (0.32).
_CONFIG = "vllm:cache_config_info{"


def kv_cache_tokens(metrics: str) -> dict[str, int]:
    """Tokens by data parallel rank (the label `engine`), from the text of `/metrics`; empty without a KV cache."""
    lines = [line for line in metrics.splitlines() if line.startswith(_CONFIG)]
    samples = [sample for family in text_string_to_metric_families("\n".join(lines)) for sample in family.samples]
    sizes = {sample.labels.get("engine", "0"): sample.labels.get("kv_cache_size_tokens", "") for sample in samples}
    return {engine: int(size) for engine, size in sizes.items() if size.isdigit()}
