"""What is damaged in the pictures that a reader decodes, gathered from every sign there is, in decoding order.

Three kinds, each picture in one of them: lost ones, which gave no frame; damaged ones, which were shown as the decoder
made them; and followers, sound themselves but predicted from a damaged one, up to the next key frame. Where a checksum
says that a part of the file is damaged, and nothing says which of its pictures are, they are told apart: unexplained.
What is found depends on the packets from a key frame on, and so on the source and the segment only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Any

from av.packet import Packet
from av.video.frame import VideoFrame

from encoders.backends.audit import Auditor
from encoders.medialog import Message
from encoders.scan import is_hidden
from encoders.signs import breaks_syntax, has_checksum, is_referred_to, length_size, means_damage, temporal_layer

_EXAMINED = frozenset(("h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4"))
"""Codecs of which `signs` reads packets."""
_LATE = frozenset(("vvc",))
"""Codecs whose decoder, in FFmpeg 8.1, works on several pictures at once and tells an error of one that was fed before:
pictures of them that do not come out are lost, and of others nothing is claimed."""
FOLLOWED_S = 10
"""Pictures that come later after damage are no followers: the usual encoders make no longer groups of pictures (x264
and x265: 250 frames), and where there is but one key frame little may be left to see of damage by then."""
_FIELDS = frozenset(("h264", "mpeg2video"))
"""Codecs whose second field may come in a packet of its own, without a time."""


class _Harm(Enum):
    """How a picture is damaged: not at all, in its own data, or by what it refers to."""

    NONE = 0
    OWN = 1
    INHERITED = 2


@dataclass(slots=True)
class _Fed:
    """A packet that was given to the decoder.

    Attributes:
        hidden: whether no picture is shown for it.
        referred: whether other pictures may be predicted from it.
        marked: whether a sign says that it is damaged.
        refused: whether the second decoder does.
        failed: whether decoding raised an error.
        after_gap: whether packets before it are lost.
        layer: pictures of lower temporal layers do not refer to it.
        checked: whether its decoder compares a checksum of the picture itself, whatever it refers to.
        block: the damaged part of the file that it lies in, as the container's checksum says.
    """

    pts: int | None
    key: bool
    hidden: bool
    referred: bool
    marked: bool = False
    refused: bool = False
    failed: bool = False
    after_gap: bool = False
    layer: int = 0
    checked: bool = False
    block: int | None = None


class Witness:
    """Sees the packets and frames of one pass from a key frame on, one packet at a time.

    Args:
        codec: FFmpeg's name.
        extradata: what the container says of the codec's stream.
        time_base: of the packets' times, seconds.
        audit: whether a second decoder listens, where there is one.
    """

    def __init__(self, codec: str, extradata: bytes, time_base: Fraction, *, audit: bool) -> None:
        self._longest = FOLLOWED_S / time_base
        self._codec, self._size = codec, length_size(codec, extradata)
        self._auditor = Auditor(codec) if audit else None
        self._fed: list[_Fed] = []
        self._missing: list[int | None] = []
        self._gap = False
        self._failed_late = False
        self._shown: set[int] = set()
        self._flagged: set[int] = set()

    def feed(self, packet: Packet[Any], block: int | None = None) -> None:
        """A packet is about to be decoded.

        Args:
            block: names the part of the file that holds it, when a checksum says that the part is damaged.
        """
        hidden = packet.is_discard or is_hidden(self._codec, packet)
        pts = packet.pts
        if pts is None and self._codec in _FIELDS and self._fed:
            pts = self._fed[-1].pts
        fed = _Fed(pts, packet.is_keyframe, hidden, not packet.is_disposable, packet.is_corrupt)
        fed.after_gap, self._gap = self._gap, False
        fed.block = block
        if self._codec in _EXAMINED:
            data = bytes(packet)
            fed.referred &= is_referred_to(self._codec, data, self._size)
            fed.marked |= breaks_syntax(self._codec, data, self._size)
            fed.layer = temporal_layer(self._codec, data, self._size)
            fed.checked = has_checksum(self._codec, data, self._size)
        if self._auditor is not None:
            fed.refused = self._auditor.refuses(packet)
        self._fed.append(fed)

    @property
    def suspects(self) -> bool:
        """Whether the packet fed last carries a sign by itself, or comes after a gap."""
        if not self._fed:
            return False
        last = self._fed[-1]
        return self._is_marked(last) or last.after_gap or last.block is not None

    def hear(self, messages: Iterable[Message]) -> None:
        """What the decoder said of the packet fed last."""
        if self._fed and means_damage(messages):
            self._fed[-1].marked = True

    def fail(self) -> None:
        """The packet fed last did not decode; of some codecs, one of those before."""
        if self._codec in _LATE:
            self._failed_late = True
        elif self._fed:
            self._fed[-1].failed = True

    def miss(self, times: Sequence[int | None]) -> None:
        """The container dropped data before the packet that is fed next, and with it pictures with these times."""
        self._missing += times
        self._gap = True

    def show(self, frame: VideoFrame) -> None:
        """A frame came out."""
        if frame.pts is not None:
            self._shown.add(frame.pts)
            if frame.is_corrupt:
                self._flagged.add(frame.pts)

    @property
    def lost(self) -> list[int | None]:
        """Presentation times (None where unknown) of pictures that gave no frame."""
        return self._missing + [fed.pts for fed, harm in self._harmed() if self._is_lost(fed, harm)]

    @property
    def damaged(self) -> list[int]:
        """Presentation times of pictures that were shown and are not what was coded."""
        return sorted({fed.pts for fed, harm in self._harmed() if harm is _Harm.OWN and fed.pts in self._shown})

    @property
    def followers(self) -> list[int]:
        """Presentation times of pictures that were shown, decoded without a sign, and refer to damaged or lost ones."""
        damaged = set(self.damaged)
        inherited = {fed.pts for fed, harm in self._harmed() if harm is _Harm.INHERITED and fed.pts in self._shown}
        return sorted(inherited - damaged)

    @property
    def unexplained(self) -> list[int]:
        """Presentation times of pictures in damaged parts of the file in which no sign tells what is damaged."""
        blocks: dict[int, set[int]] = {}
        explained = set()
        for fed, harm in self._harmed():
            if fed.block is not None and fed.pts is not None:
                blocks.setdefault(fed.block, set()).add(fed.pts)
                if harm is not _Harm.NONE or fed.after_gap:
                    explained.add(fed.block)
        return sorted(pts for block, times in blocks.items() if block not in explained for pts in times & self._shown)

    def _is_lost(self, fed: _Fed, harm: _Harm) -> bool:
        """Whether a picture did not come out. What the decoder has not given out yet is not lost."""
        if fed.pts is None or fed.pts in self._shown:
            return fed.failed and fed.pts is None
        due = self._timed and not fed.hidden and fed.pts < max(self._shown)
        return fed.failed or (due and (self._failed_late or harm is not _Harm.NONE))

    @property
    def _timed(self) -> bool:
        """Whether frames come with their packets' times: some containers have none, and decoders make them up."""
        return 2 * sum(fed.pts in self._shown for fed in self._fed) > len(self._fed)

    def _harmed(self) -> Iterator[tuple[_Fed, _Harm]]:
        """Each packet with the harm that its picture has taken."""
        begun, until, latest = False, None, None
        spreads: int | None = None  # from this temporal layer on
        for fed in self._fed:
            begun |= fed.key
            if fed.key:
                # What follows a key frame and is shown before it may refer to the damaged pictures too (open GOPs).
                until, spreads = (fed.pts if spreads is not None or fed.after_gap else None), None
            elif fed.after_gap:
                spreads, latest = 0, fed.pts
            # Writers that put each unit of a stream into a packet of its own make packets that fail and lose nothing.
            if (fed.failed and fed.pts not in self._shown) or self._is_marked(fed):
                latest = fed.pts if fed.referred and fed.pts is not None else latest
                if fed.referred and begun:  # pictures before the first key frame lack what they refer to anyway
                    spreads = fed.layer if spreads is None else min(spreads, fed.layer)
                yield fed, _Harm.OWN
            elif fed.checked or (latest is not None and fed.pts is not None and fed.pts - latest > self._longest):
                yield fed, _Harm.NONE
            else:
                leads = until is not None and not fed.key and fed.pts is not None and fed.pts < until
                follows = spreads is not None and fed.layer >= spreads
                yield fed, _Harm.INHERITED if leads or follows else _Harm.NONE

    def _is_marked(self, fed: _Fed) -> bool:
        audited = self._auditor is not None and self._auditor.trusted and fed.refused
        return fed.marked or audited or fed.pts in self._flagged
