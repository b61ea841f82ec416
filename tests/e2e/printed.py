"""The request examples printed in the seeds, letter for letter, with the address they are sent to.

Where a seed prints a fragment (seed 003's boxes and palette) or only example values (seed 000), the
required fields around it are added and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

ASYNC = {"x-dashscope-async": "enable"}
EVOLINK = "/v1/images/generations"
BLOCKING = "/v1/images/generations"
SUBMIT = "/v1/tasks/submit"
WAVE = "/v1/tasks"
GENERATION = "/services/aigc/image-generation/generation"
# None of the hosts of the printed pictures and callbacks exists for us.
HOSTS = ("umodelverse-inference.cn-wlcb.ufileos.com", "cdn.example.com", "your-domain.com")


@dataclass(frozen=True)
class Printed:
    """One example: the dialect and seed it belongs to, its path there, its JSON, its pictures."""

    name: str
    dialect: str
    path: str
    body: str
    n: int = 1
    action: str = "generate"

    def __str__(self) -> str:
        return self.name


EXAMPLES = (
    Printed(
        "000 example values",
        "evolink",
        EVOLINK,
        """{"model": "wan2.5-text-to-image", "prompt": "A cat playing in the grass",
        "size": "1280x1280", "n": 1, "prompt_extend": true,
        "callback_url": "https://your-domain.com/webhooks/image-task-completed"}""",
    ),
    Printed(
        "001 lake",
        "evolink",
        EVOLINK,
        """{
  "model": "wan2.5-text-to-image",
  "prompt": "一片宁静的湖水倒映着夕阳的美景"
}""",
    ),
    Printed(
        "002 text to image",
        "modelverse",
        BLOCKING,
        '{ "model": "wan2.7-image", "prompt": "A futuristic cloud data center floating above the '
        'sea at sunrise", "size": "1K", "seed": 123456, "watermark": false }',
    ),
    Printed(
        "002 edit",
        "modelverse",
        BLOCKING,
        '{ "model": "wan2.7-image-pro", "prompt": "把这只猫改成赛博朋克风格,霓虹灯光,电影感构图", '
        '"image": "https://umodelverse-inference.cn-wlcb.ufileos.com/亿恩科技-maxcot.jpg", '
        '"size": "2K", "thinking_mode": true, "watermark": false }',
    ),
    Printed(
        "002 fusion",
        "modelverse",
        BLOCKING,
        '{ "model": "wan2.7-image-pro", '
        '"prompt": "融合两张参考图的主体特征,生成一张高级感品牌海报", '
        '"images": [ "https://umodelverse-inference.cn-wlcb.ufileos.com/亿恩科技-maxcot.jpg", '
        '"https://umodelverse-inference.cn-wlcb.ufileos.com/亿恩科技-maxcot.jpg" ], '
        '"size": "2048x2048", "thinking_mode": true, "seed": 20260402 }',
    ),
    Printed(
        "002 group",
        "modelverse",
        BLOCKING,
        '{ "model": "wan2.7-image-pro", '
        '"prompt": "生成一组同一角色在春夏秋冬四季中的海报,人物形象保持一致", '
        '"size": "2K", "thinking_mode": true, "enable_sequential": true, "n": 4 }',
        n=4,
    ),
    Printed(
        "002 submit",
        "modelverse",
        SUBMIT,
        '{ "model": "wan2.7-image-pro", "input": { "prompt": "一只坐在咖啡馆窗边的布偶猫", '
        '"images": [ "https://umodelverse-inference.cn-wlcb.ufileos.com/亿恩科技-maxcot.jpg" ] }, '
        '"parameters": { "size": "2K", "prompt_extend": true, "enable_sequential": true, "n": 4, '
        '"seed": 123456, "watermark": false } }',
        n=4,
    ),
    Printed(
        "002 submit text to image",
        "modelverse",
        SUBMIT,
        '{ "model": "wan2.7-image", "input": { "prompt": "A futuristic cloud data center floating '
        'above the sea at sunrise" }, "parameters": { "size": "1K", "seed": 123456 } }',
    ),
    Printed(
        "002 submit edit",
        "modelverse",
        SUBMIT,
        '{ "model": "wan2.7-image-pro", "input": { '
        '"prompt": "把这只猫改成赛博朋克风格,霓虹灯光,电影感构图", '
        '"img_url": "https://umodelverse-inference.cn-wlcb.ufileos.com/亿恩科技-maxcot.jpg" }, '
        '"parameters": { "size": "2K", "prompt_extend": true, "watermark": false } }',
    ),
    Printed(
        "002 submit fusion",
        "modelverse",
        SUBMIT,
        '{ "model": "wan2.7-image-pro", "input": { '
        '"prompt": "融合两张参考图的主体特征,生成一张高级感品牌海报", '
        '"images": [ "https://umodelverse-inference.cn-wlcb.ufileos.com/亿恩科技-maxcot.jpg", '
        '"https://umodelverse-inference.cn-wlcb.ufileos.com/亿恩科技-maxcot.jpg" ] }, '
        '"parameters": { "size": "2048x2048", "prompt_extend": true, "seed": 20260402 } }',
    ),
    Printed(
        "002 submit group",
        "modelverse",
        SUBMIT,
        '{ "model": "wan2.7-image-pro", "input": { '
        '"prompt": "生成一组同一角色在春夏秋冬四季中的海报,人物形象保持一致" }, '
        '"parameters": { "size": "2K", "prompt_extend": true, "enable_sequential": true, '
        '"n": 4 } }',
        n=4,
    ),
    Printed(
        "003 scroll",
        "qingbo",
        WAVE,
        """{
    "model": "wan2.7-image",
    "prompt": "古风山水长卷,水墨意境,远山如黛,近水含烟",
    "resolution": "4K",
    "aspect_ratio": "16:9",
    "thinking_mode": true
  }""",
    ),
    Printed(
        "003 palette",
        "qingbo",
        WAVE,
        """{"model": "wan2.7-image", "prompt": "p", "color_palette": [
  {"hex": "#0A2540", "ratio": 50},
  {"hex": "#F5F5F0", "ratio": 35},
  {"hex": "#E04B3A", "ratio": 15}
]}""",
    ),
    Printed(
        "003 one box",
        "qingbo",
        WAVE,
        """{"model": "wan2.7-image", "prompt": "p", "action": "interactive_edit",
"image_urls": ["https://cdn.example.com/cat.jpg"],
"bbox_list": [[[120, 80, 540, 460]]]}""",
        action="interactive_edit",
    ),
    Printed(
        "003 two boxes",
        "qingbo",
        WAVE,
        """{"model": "wan2.7-image", "prompt": "p", "action": "interactive_edit",
"image_urls": ["https://cdn.example.com/scene.jpg"],
"bbox_list": [[[100, 100, 400, 400], [500, 200, 800, 500]]]}""",
        action="interactive_edit",
    ),
    Printed(
        "003 two pictures",
        "qingbo",
        WAVE,
        """{"model": "wan2.7-image", "prompt": "p", "action": "interactive_edit",
"image_urls": [
  "https://cdn.example.com/img-a.jpg",
  "https://cdn.example.com/img-b.jpg"
],
"bbox_list": [
  [[120, 80, 540, 460]],
  [[200, 150, 600, 500]]
]}""",
        action="interactive_edit",
    ),
    Printed(
        "004 flower shop",
        "dashscope",
        GENERATION,
        """{
  "model": "wan2.6-t2i",
  "input": {
    "messages": [
      {
        "role": "user",
        "content": [
          {
            "text": "A flower shop with exquisite windows, a beautiful wooden door, and flowers on display"
          }
        ]
      }
    ]
  },
  "parameters": {
    "prompt_extend": true,
    "watermark": false,
    "n": 1,
    "negative_prompt": "",
    "size": "1280*1280"
  }
}""",  # noqa: E501 - as it is printed
    ),
)
