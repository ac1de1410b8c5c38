"""vllm-fleet: bare GPU hosts to a watched, safe, fast vLLM fleet over SSH."""
