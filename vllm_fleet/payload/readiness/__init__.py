"""Does an engine answer? A program for hosts, installed as the package `readiness`.

Its modules import each other relatively and else only Python's standard library (3.11).
"""
