"""What FFmpeg does not tell of a container, read from its bytes: protection, names of codecs, checksums, edits.

Rule: each module looks at one kind of file, bounds what it reads, and takes broken bytes for nothing said.
"""
