"""The truth, in SQL: the same tables and code on SQLite (WAL) and PostgreSQL.

Map:
    schema                          the tables
    lifecycle                       (status, trigger) -> status of videos and uploads
    database, migrations            engines, transactions, Alembic
    uploads, videos, idempotency    what the gateway asks
    jobs, leases, clock             what the dispatcher asks: claims, fencing, leadership; whose clock decides
    events, deliveries              the outbox, what SSE and webhooks read, and how far webhooks have come
    overview, retention             what lists show of many videos; what time has made superfluous

Invariants: every function takes a session first and never commits: the caller's `async with db.write()` is the
transaction. Times come in as arguments (epoch seconds). Every read on behalf of a user carries that user's id. Every
write of a claimed job carries its fencing token.
"""
