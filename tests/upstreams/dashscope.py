"""What the tests about DashScope share: its address, and answers that mean success."""

from __future__ import annotations

BASE = "https://dashscope.aliyuncs.com/api/v1"
T2I, I2I = "wan2.5-t2i-preview", "wan2.5-i2i-preview"
ACCEPTED = {"output": {"task_status": "PENDING", "task_id": "5f2d0f52"}, "request_id": "r1"}
CHOICES = {
    "output": {
        "finished": True,
        "choices": [
            {
                "finish_reason": "stop",
                "message": {
                    "role": "assistant",
                    "content": [{"type": "image", "image": "https://x/1.png?Expires=1795256733"}],
                },
            }
        ],
    },
    "usage": {"image_count": 1},
    "request_id": "r1",
}
