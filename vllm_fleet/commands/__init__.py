"""The commands of `fleet`, one a module."""
