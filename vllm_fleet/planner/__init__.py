"""Pure planning: which engine runs where, on which GPUs, with which rank and port."""
