"""Which pictures of a pass count as lost, as damaged, and as drawn from damaged ones."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from encoders.backends.witness import Witness


@dataclass
class Packet:
    """As much of PyAV's packet as a witness reads."""

    pts: int | None
    is_keyframe: bool = False
    is_corrupt: bool = False
    is_discard: bool = False
    is_disposable: bool = False
    data: bytes = b""

    def __bytes__(self) -> bytes:
        return self.data


@dataclass
class Frame:
    """As much of PyAV's frame as a witness reads."""

    pts: int | None
    is_corrupt: bool = False


SECOND = Fraction(1)
SAID = [(16, "theora", "Coefficient index overflow")]


def fed(
    *packets: Packet, broken: int | None = None, failed: int | None = None, hidden: tuple[int, ...] = ()
) -> Witness:
    """A pass over these packets: one of them is spoken of, one fails; all but the failed and the hidden are shown."""
    witness = Witness("theora", b"", SECOND, audit=False)
    for packet in packets:
        witness.feed(packet)  # type: ignore[arg-type]
        if packet.pts == broken:
            witness.hear(SAID)
        if packet.pts == failed:
            witness.fail()
    for packet in packets:
        if packet.pts not in (failed, *hidden):
            witness.show(Frame(packet.pts))  # type: ignore[arg-type]
    return witness


def gop(*times: int) -> list[Packet]:
    return [Packet(times[0], is_keyframe=True), *map(Packet, times[1:])]


def found(witness: Witness) -> tuple[list[int | None], list[int], list[int]]:
    return witness.lost, witness.damaged, witness.followers


def test_a_sound_pass_has_nothing_to_tell() -> None:
    assert found(fed(*gop(0, 1, 2), *gop(3, 4))) == ([], [], [])


def test_damage_lasts_until_the_next_key_frame() -> None:
    assert found(fed(*gop(0, 1, 2, 3), *gop(4, 5), broken=1)) == ([], [1], [2, 3])
    assert found(fed(*gop(0, 1, 2, 3), *gop(4, 5), failed=2)) == ([2], [], [3])
    assert found(fed(*gop(0, 1), *gop(2, 3), broken=2)) == ([], [2], [3])


def test_pictures_shown_before_but_decoded_after_follow_too() -> None:
    assert found(fed(*gop(0, 4, 2, 1, 3), *gop(8, 6, 7, 9), broken=4)) == ([], [4], [1, 2, 3, 6, 7])


def test_what_nothing_refers_to_harms_nothing() -> None:
    packets = [Packet(0, is_keyframe=True), Packet(2), Packet(1, is_disposable=True), Packet(3)]
    assert found(fed(*packets, broken=1)) == ([], [1], [])


def test_a_marked_picture_that_never_comes_out_is_lost() -> None:
    assert found(fed(*gop(0, 1, 2, 3, 4), broken=1, hidden=(1, 3))) == ([1, 3], [], [2, 4])
    # At the end of a pass the decoder still holds some.
    assert found(fed(*gop(0, 1, 2, 3), broken=1, hidden=(3,))) == ([], [1], [2])


def test_flags_of_containers_and_frames_count() -> None:
    witness = fed(Packet(0, is_keyframe=True, is_corrupt=True), Packet(1))
    assert found(witness) == ([], [0], [1])
    witness = fed(*gop(0, 1))
    witness.show(Frame(1, is_corrupt=True))  # type: ignore[arg-type]
    assert found(witness) == ([], [1], [])


def test_pictures_that_the_container_dropped_are_lost() -> None:
    witness = Witness("theora", b"", SECOND, audit=False)
    for packet in gop(0, 1):
        witness.feed(packet)  # type: ignore[arg-type]
    witness.miss([2, 3])
    for packet in [Packet(4), *gop(5, 6)]:
        witness.feed(packet)  # type: ignore[arg-type]
        assert witness.suspects is (packet.pts == 4)
    for pts in (0, 1, 4, 5, 6):
        witness.show(Frame(pts))  # type: ignore[arg-type]
    assert found(witness) == ([2, 3], [], [4])


def test_before_the_first_key_frame_nothing_is_inherited() -> None:
    assert found(fed(Packet(0), Packet(1), *gop(2, 3), broken=0)) == ([], [0], [])


def test_a_damaged_part_is_unexplained_until_a_sign_is_found_in_it() -> None:
    for broken, unexplained in ((None, [3, 4]), (4, []), (1, [3, 4])):
        witness = Witness("theora", b"", SECOND, audit=False)
        for packet in [*gop(0, 1, 2), *gop(3, 4), *gop(5)]:
            witness.feed(packet, 1000 if packet.pts in (3, 4) else None)  # type: ignore[arg-type]
            assert witness.suspects is (packet.pts in (3, 4))
            if packet.pts == broken:
                witness.hear(SAID)
        for pts in range(6):
            witness.show(Frame(pts))  # type: ignore[arg-type]
        assert witness.unexplained == unexplained


def test_a_picture_that_its_own_checksum_confirms_inherits_nothing() -> None:
    hashed = b"\0\0\0\1\x02\1\x80\0\0\0\1\x50\1\x84\x13\2"
    witness = Witness("hevc", b"", SECOND, audit=False)
    for packet in (Packet(0, is_keyframe=True), Packet(1), Packet(2, data=hashed), Packet(3)):
        witness.feed(packet)  # type: ignore[arg-type]
        if packet.pts == 0:
            witness.hear([(16, "hevc", "CABAC_MAX_BIN : 7")])
        witness.show(Frame(packet.pts))  # type: ignore[arg-type]
    assert found(witness) == ([], [0], [1, 3])


def test_ten_seconds_after_the_last_damage_nothing_is_said_any_more() -> None:
    assert found(fed(*gop(*range(30)), broken=3)) == ([], [3], list(range(4, 14)))
    assert found(fed(*gop(*range(30)), broken=3, failed=9)) == ([9], [3], [*range(4, 9), *range(10, 20)])


def test_lower_temporal_layers_never_show_the_damage_of_higher_ones() -> None:
    witness = Witness("hevc", b"", SECOND, audit=False)
    layers = {0: 0, 4: 0, 2: 1, 1: 2, 3: 2, 8: 0, 6: 1}
    for pts, layer in layers.items():
        data = bytes((0, 0, 0, 1, 2, layer + 1, 0x80))
        witness.feed(Packet(pts, is_keyframe=not pts, data=data))  # type: ignore[arg-type]
        if pts == 2:
            witness.hear([(16, "hevc", "CABAC_MAX_BIN : 7")])
        witness.show(Frame(pts))  # type: ignore[arg-type]
    assert found(witness) == ([], [2], [1, 3, 6])


def test_a_decoder_that_tells_errors_late_is_asked_only_what_is_missing() -> None:
    witness = Witness("vvc", b"", SECOND, audit=False)
    for packet in gop(0, 1, 2, 3, 4):
        witness.feed(packet)  # type: ignore[arg-type]
        if packet.pts == 3:
            witness.fail()
    for pts in (0, 2, 3):
        witness.show(Frame(pts))  # type: ignore[arg-type]
    assert found(witness) == ([1], [], [])


def test_a_packet_that_fails_and_loses_no_picture_is_no_damage() -> None:
    witness = Witness("h264", b"", SECOND, audit=False)
    for packet in (Packet(0, is_keyframe=True), Packet(0), Packet(1), Packet(1)):  # a unit in each
        witness.feed(packet)  # type: ignore[arg-type]
        witness.fail()
    for pts in (0, 1):
        witness.show(Frame(pts))  # type: ignore[arg-type]
    assert found(witness) == ([], [], [])
