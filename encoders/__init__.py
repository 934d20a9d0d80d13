"""Media: what a segment and a rendition are, and how to make one. Local paths in, local paths out.

Map:
    errors, media, ladder, plan     values and pure functions, standard library only
    confine                         a child process with no rights to spare; foreign bytes are touched only in it
    probe                           hostile file -> MediaInfo
    segment, audio, stills          encoded media from a source
    package                         encoded segments -> CMAF + HLS + DASH + MP4
    verify                          is this segment, this asset, what was planned?
    backends                        who decodes, scales and encodes: cpu, and the GPU lanes

Invariants: no module here knows of Ray, a database, HTTP or an object store; frames are counted on a rational grid,
never timed; foreign bytes are parsed in a confined process only.
"""
