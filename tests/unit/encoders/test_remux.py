"""What copying a source puts right: frames in order, and a clock that does not jump."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from encoders.remux import SteadyClock

MS = Fraction(1, 1000)


@dataclass
class Packet:
    """What the clock reads of one."""

    stream_index: int
    dts: int | None
    duration: int = 40
    pts: int | None = None
    time_base: Fraction = MS


def steady(clock: SteadyClock, packets: list[Packet]) -> list[int]:
    return [(packet.dts or 0) + int(clock.shift_s(packet) / MS) for packet in packets]  # type: ignore[arg-type]


class TestSteadyClock:
    """One clock from parts of a file that was joined byte by byte."""

    def test_a_part_begins_where_the_one_before_ended(self) -> None:
        clock = SteadyClock()
        assert steady(clock, [Packet(0, at) for at in (1000, 1040, 1080, 0, 40)]) == [1000, 1040, 1080, 1120, 1160]
        assert clock.joints_s == (1120 * MS,)

    def test_tracks_of_a_part_keep_their_distance_whichever_comes_first(self) -> None:
        clock = SteadyClock()
        file = [Packet(0, 1000), Packet(1, 1010), Packet(0, 1040), Packet(0, 0), Packet(1, 1050), Packet(1, 25)]
        placed = steady(clock, file)
        assert placed == [1000, 1010, 1040, 1080, 1050, 1105]
        assert placed[5] - placed[3] == 25
        assert len(clock.joints_s) == 1

    def test_the_picture_stays_on_its_beat_when_the_sound_reaches_the_joint_first(self) -> None:
        clock = SteadyClock(leader=0)
        file = [Packet(0, 1000), Packet(1, 1010), Packet(1, 0), Packet(0, 1040), Packet(0, 5)]
        steady(clock, file)
        assert steady(clock.again(), file) == [1000, 1010, 1075, 1040, 1080]

    def test_a_careless_step_back_is_no_jump(self) -> None:
        assert steady(SteadyClock(), [Packet(0, at) for at in (1000, 1040, 900, 1120)]) == [1000, 1040, 900, 1120]

    def test_jumps_ahead_are_holes_unless_parts_may_have_been_joined(self) -> None:
        times = [Packet(0, at) for at in (0, 40, 500_000)]
        assert steady(SteadyClock(), times) == [0, 40, 500_000]
        assert steady(SteadyClock(joinable=True), times) == [0, 40, 80]

    def test_a_packet_without_time_stays_with_its_part(self) -> None:
        clock = SteadyClock()
        steady(clock, [Packet(0, 1000), Packet(0, 0)])
        assert clock.shift_s(Packet(0, None)) == 1040 * MS  # type: ignore[arg-type]
