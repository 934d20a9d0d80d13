"""Objects under keys: one port (`base.ObjectStore`), on local files (`local`) and on S3 (`s3`); `open` chooses by URL.

Invariants: an object appears whole or not at all; bytes under a key never change; `kill -9` at any step loses no
finished part and no object; what runs on one store runs on the other (tests/contract/test_object_store.py).
"""
