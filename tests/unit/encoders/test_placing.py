"""Places of subtitles, from what ASS says to what WebVTT says."""

from __future__ import annotations

import pytest

from encoders.placing import Script, checked_settings, placed, read_script

HEADER = """[Script Info]
PlayResX: 1920
PlayResY: 1080

[V4+ Styles]
Format: Name, Fontname, Alignment, MarginL
Style: Default,Arial,2,10
Style: *Top,Arial,8,10
Style: Broken,Arial
"""
OLD = """[V4 Styles]
Format: Name, Alignment
Style: Above,6
Style: Middle,11
Style: Odd,4
"""


def test_a_header_tells_the_screen_and_the_styles() -> None:
    script = read_script(HEADER)
    assert script.size == (1920, 1080)
    assert script.alignments == {"Default": 2, "Top": 8, "Broken": 2}
    assert read_script(OLD).alignments == {"Above": 8, "Middle": 6, "Odd": 2}
    assert read_script("PlayResX: many\nStyle: x\nFormat:\n[V4+ Styles]\nStyle: y") == Script()


@pytest.mark.parametrize(
    ("style", "dialogue", "settings"),
    [
        ("Default", "plain", ""),
        ("Nobody's", "{\\b1}bold", ""),
        ("Top", "plain", "line:0"),
        ("Top", "{\\an2}below after all", ""),
        ("Default", "{\\an7}corner", "line:0 align:start"),
        ("Default", "{\\an6}", "line:50%,center align:end"),
        ("Default", "{\\a6}old above", "line:0"),
        ("Default", "{\\a10}old middle", "line:50%,center"),
        ("Default", "{\\pos(960,540)}", "line:50%,end position:50%"),
        ("Default", "{\\fad(1,2)\\an7\\move(192,108,300,300)}", "line:10% position:10% align:start"),
        ("Default", "{\\pos(2000,540)}outside", ""),
        ("Default", "{\\pos(a,b)}", ""),
        ("Default", "\\an8 is no override here", ""),
    ],
)
def test_lines_are_placed(style: str, dialogue: str, settings: str) -> None:
    assert placed(read_script(HEADER), style, dialogue) == settings


def test_settings_of_others_are_checked() -> None:
    told = (
        "line:10% position:50%,line-left align:start size:80% line:3 region:x align:<b> position:1e9% vertical:rl\t-->"
    )
    assert checked_settings(told) == "line:10% position:50%,line-left align:start size:80% vertical:rl"
