"""Limits of work under way: refused before a byte is sent, free work first, never what was begun."""

from __future__ import annotations

from pathlib import Path

from gateway_app import Gateway, content, play_dispatcher, running_gateway

DATA = content(4321)
BODY = {"title": "A clip", "filename": "clip.mp4", "content_type": "video/mp4", "file_size_bytes": len(DATA)}


async def start(farm: Gateway, who: str, tier: str) -> tuple[int, str, str]:
    """(status, code, Retry-After) of a try to begin an upload."""
    answer = await farm.call("POST", "/v1/uploads/initiate", BODY, who=who, tier=tier)
    return answer.status_code, answer.json().get("code", ""), answer.headers.get("retry-after", "")


async def test_a_user_has_only_so_much_under_way_and_goes_on_when_some_is_over(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, active_jobs={"free": 2}, initiate_rates={}) as farm:
        done = await farm.upload(DATA, who="ann", tier="free")
        begun = await farm.initiate(len(DATA), who="ann", tier="free")
        assert await start(farm, "ann", "free") == (429, "too_much_under_way", "60")
        assert (await start(farm, "bob", "free"))[0] == 201
        assert (await start(farm, "ann", "paid"))[0] == 201, "this tier has no limit here"
        etag = await farm.send_part(begun["upload_id"], 1, DATA)
        path = f"/v1/uploads/{begun['upload_id']}/complete"
        parts = [{"part_number": 1, "etag": etag}]
        accepted = await farm.call("POST", path, {"parts": parts}, who="ann", tier="free")
        assert accepted.status_code == 200, "what was begun is never refused"
        await farm.call("POST", f"/v1/jobs/{done['job_id']}/cancel", who="ann", tier="free")
        await farm.call("POST", f"/v1/jobs/{accepted.json()['job_id']}/cancel", who="ann", tier="free")
        assert (await start(farm, "ann", "free"))[0] == 201
        assert (await start(farm, "ann", "free"))[0] == 429, "with the paid one, two are open"


async def test_a_full_farm_refuses_free_work_first_and_paid_work_last(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, farm_active_jobs=4, initiate_rates={}) as farm:
        jobs = [(await farm.upload(DATA, who=f"u{n}"))["job_id"] for n in range(3)]
        assert await start(farm, "ann", "free") == (503, "overloaded", "300")
        assert (await start(farm, "ann", "verified"))[0] == 201
        jobs.append((await farm.upload(DATA, who="u4"))["job_id"])
        assert (await start(farm, "ann", "verified"))[0] == 503
        assert (await start(farm, "ann", "paid"))[0] == 503
        await play_dispatcher(farm, jobs[0], {"master.m3u8": ("HLS", b"#EXTM3U")})
        assert (await start(farm, "ann", "paid"))[0] == 201
