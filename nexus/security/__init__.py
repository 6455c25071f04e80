"""The checks before the work: who is asking, and whether they may."""
