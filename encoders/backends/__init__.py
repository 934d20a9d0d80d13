"""Who decodes, scales and encodes. `base` says what a backend is; `registry` what this host can run, and why not more.

Invariant: nothing outside a worker's confined child imports a GPU library; `nvenc` and `hybrid` import
them on first use.
"""
