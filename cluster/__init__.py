"""Machines: Ray, devices, disks, database. Carries out what the scheduler decides; hands files to the encoders.

Map:
    settings, logs, errors          read once; structured; typed
    storage                         the object store port, on local files and on S3
    metadata                        videos, uploads, jobs, tasks, assets, events: the truth, in SQL
    redis_server, doorbell          the embedded Valkey; "look at the database now"
    staging, worker, actors         object -> local file -> encoded -> object, on a node
    dispatcher                      the loop: events in, instructions out, carried out

Invariants: SQL is the truth and everything in Redis can be lost; every write of a claimed job is fenced by its attempt;
an object under a key never changes its bytes; only the dispatcher and the gateway write the database.
"""
