"""`python3 engine_facts.pyz`, and `python3 -m engine_facts` beside prometheus_client."""

from .app import main

main()
