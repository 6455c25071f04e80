"""Workflows: their definition, their graph, their plan, and the runtime that carries them in this process."""
