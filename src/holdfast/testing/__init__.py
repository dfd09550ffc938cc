"""Tools to test what is built on Holdfast, and what Holdfast is built on.

Nothing here imports pytest or Hypothesis until a name that needs it is used.
"""
