"""What a host's NVIDIA GPUs do, as Prometheus' metrics. Runs on hosts as one file, with nvidia-ml-py in it.

NVML can block: a thread asks it, and a scrape gets what was last answered, with its age.
"""
