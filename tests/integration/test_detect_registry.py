"""`dual-update detect --registry` on a cluster that runs."""

import json

from tests.integration.world import Images, World


def test_new_content_under_a_running_tag_is_a_poke(world: World, images: Images) -> None:
    old, other = images.push("app:1", "one"), images.push("other:1", "same")
    text = f"services: {{web: {{image: '{old.ref}'}}, side: {{image: '{other.ref}'}}}}\n"
    cluster = world.repo({"compose.yaml": text})
    cluster.up()

    def actions(*options: str) -> dict[str, str]:
        done = cluster.dual_update("detect", "--base", "HEAD", "--format", "json", *options)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["warnings"] == []
        return {name: one["action"] for name, one in report["services"].items()}

    assert actions("--registry") == {"web": "none", "side": "none"}
    images.push("app:1", "two")
    assert actions("--registry") == {"web": "poke", "side": "none"}
    assert actions() == {"web": "none", "side": "none"}, "nothing is asked unless one says so"
