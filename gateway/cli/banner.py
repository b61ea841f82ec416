"""What `gateway up` says once it is ready."""

from __future__ import annotations

import json

from gateway.cli.demo import Demo
from gateway.settings import Settings

_BODY = '{"model": "wan2.5-t2i-preview", "prompt": "a paper lantern over a canal at dusk"}'


def show_banner(settings: Settings, demo: Demo | None, key: str | None, *, as_json: bool) -> None:
    """Print where everything is, the demo key, and a curl line that works when pasted."""
    base = settings.base_url
    if as_json:
        ready = {
            "base_url": base,
            "key": key,
            "admin_key_file": str(settings.data_dir / "admin.key"),
            "simulator": dict(demo.ports) if demo else None,
        }
        print(json.dumps(ready), flush=True)
        return
    lines = ["", f"Image Gateway is ready at {base}", f"  API docs   {base}/docs"]
    if demo is not None:
        control = f"http://127.0.0.1:{demo.ports['control']}"
        lines += [
            f"  demo key   {key}",
            f"  vendors    simulated; stop one with: curl -X POST {control}/_sim/evolink/down",
            "",
            "Your first image (a synchronous call; without `Prefer` you get a task):",
            "",
            f"  curl -s {base}/v1/images/generations -H 'Prefer: wait=60' \\",
            f"    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\",
            f"    -d '{_BODY}'",
        ]
    lines += ["", "Ctrl-C stops everything; the data stays in " + str(settings.data_dir) + ".", ""]
    print("\n".join(lines), flush=True)
