"""Alembic migrations, run from code (`cluster.metadata.migrate`): no alembic.ini, nothing beside the package.

A new one: change `schema.py`, print what differs with `python -m cluster.metadata.migrations`, put that into
`versions/NNNN_subject.py` with the previous revision as `down_revision`. It must run on both databases; on SQLite
tables are altered in batch mode.
"""
