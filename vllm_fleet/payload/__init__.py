"""Programs that run on hosts. They import nothing of ours, for only the file itself, or its package, is there."""
