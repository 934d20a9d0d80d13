"""Named profiles as documented YAML files, and `load`, which reads and checks them.

Invariant: a profile is data. Nothing here decides what a source gets (ladder, plan) or whether it is taken (limits).
"""
