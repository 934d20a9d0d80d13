"""The farm's HTTP side: what a person or a program sees of it.

Map, in the order of a request's way:

    serve.py      process entry point: settings, logs, uvicorn
    app.py        create_app(): wiring only
    routes/       one file per resource; parse, call a rule, shape the answer
    auth.py       bearer token -> Principal;  limits.py: rate limits per user
    uploads.py    rules of upload sessions;  videos.py: rules of videos;  publish.py: who may see what, and by which URL
    events.py     the event table as server-sent events;  webhooks.py: the same table as signed callbacks
    background.py what happens beside requests, by one gateway at a time;  housekeeping.py: what time made superfluous
    ports.py      what stands behind all of it, as one value;  bell.py: Redis, as far as there is one
    schemas.py    wire models: every name a client can see;  problems.py: error -> status, one table
    client.py     typed client of this API;  cli.py: the `reelmill` command

Invariants:
    - The gateway never talks to Ray: database, Redis and object storage are all it needs.
    - Every resource belongs to one user; somebody else's id answers exactly as one that does not exist (404).
    - Nothing is kept in memory that a restart must not lose; two gateways may serve the same farm.
    - Uploaded sources are never served.
"""
