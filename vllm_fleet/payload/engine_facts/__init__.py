"""What a host's engines are and do, as metrics in a file for the node exporter. A program for hosts.

It is shipped as one file (render/engine_facts.py) with prometheus_client in it; its modules import each other
relatively, that and Python's standard library (3.11).
"""
