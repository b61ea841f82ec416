"""Values for the fields a model publishes at `GET /v1/models/{id}`: legal ones, and some outside.

Everything is read off the published entry, as a client program would, never off the catalogue.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]
Field = st.SearchStrategy[Json]

# What callers write; NUL is no text.
TEXT = st.characters(codec="utf-8", exclude_characters="\x00")
HEX = st.text(string.hexdigits, min_size=6, max_size=6).map(lambda digits: f"#{digits}")


def properties(entry: Json) -> Json:
    """Give the published schema of each field."""
    found: Json = entry["parameters"]["properties"]
    return found


def least(entry: Json, pictures: list[str]) -> Json:
    """Give the shortest legal body."""
    body = {"model": entry["id"], "prompt": "p"}
    wanted = properties(entry).get("image_urls", {}).get("minItems", 0)
    return body | ({"image_urls": pictures[:wanted]} if wanted else {})


def fields(entry: Json, pictures: list[str]) -> dict[str, Field]:
    """Give, for every published field, bodies' parts that hold it legally."""
    known = properties(entry)
    special = {
        "prompt": lambda: _texts(known["prompt"]),
        "negative_prompt": lambda: _texts(known["negative_prompt"]),
        "size": lambda: sizes(entry),
        "aspect_ratio": lambda: _ratios(entry),
        "image_urls": lambda: _pictures(known["image_urls"], pictures),
        "color_palette": lambda: palettes(known["color_palette"]),
        "bbox_list": lambda: _boxes(known["bbox_list"], pictures),
        "enable_sequential": lambda: _groups(entry),
        "n": lambda: st.integers(1, entry["limits"]["n"]["max"]),
    }
    found = {}
    for name, schema in known.items():
        if name not in ("model", "mask"):
            found[name] = _part(name, special[name]() if name in special else _plain(schema))
    return found


def _part(name: str, values: st.SearchStrategy[Any]) -> Field:
    """Give parts of bodies; a value that is itself a part names the fields it goes with."""
    return values.map(lambda value: value if isinstance(value, dict) else {name: value})


def bodies(entry: Json, pictures: list[str]) -> Field:
    """Give whole bodies with any of the fields together.

    ``size``, ``resolution`` and ``aspect_ratio`` say the same thing in two ways: one of the two.
    """
    known = fields(entry, pictures)
    two = known.keys() & {"resolution", "aspect_ratio"}
    rest = [name for name in known if name not in {"resolution", "aspect_ratio"}]

    @st.composite
    def body(draw: st.DrawFn) -> Json:
        names = draw(st.lists(st.sampled_from(rest), unique=True))
        if "size" not in names:
            names += draw(st.lists(st.sampled_from(sorted(two)), unique=True)) if two else []
        parts = [draw(known[name]) for name in names]
        return least(entry, pictures) | {k: v for part in parts for k, v in part.items()}

    return body()


def _plain(schema: Json) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "boolean":
        return st.booleans()
    if schema["type"] == "integer":
        return st.integers(schema.get("minimum", 0), schema.get("maximum", 2**31 - 1))
    return st.text(TEXT, max_size=100)


def _texts(schema: Json) -> st.SearchStrategy[str]:
    most = schema["maxLength"]
    some = st.text(TEXT, min_size=1, max_size=60).filter(str.strip)
    return st.one_of(some, some.map(lambda text: (text * most)[: most - 1] + "x"))


def sizes(entry: Json) -> st.SearchStrategy[str]:
    """Give sizes in every spelling: words, choices, and pixels within the published bounds."""
    schema, rule = properties(entry)["size"], entry["limits"]["size"]
    words = [*rule["tiers"], *rule["tiers_text_only"], rule["default"], *rule["suggested"]]
    if "enum" in schema:
        return st.sampled_from([*words, *schema["enum"]])
    separators = st.sampled_from(("x", "*", "X", "×"))
    pixels = st.tuples(_pixels(rule), separators).map(
        lambda pair: f"{pair[0][0]}{pair[1]}{pair[0][1]}"
    )
    return st.one_of(st.sampled_from(words), pixels)


@st.composite
def _pixels(draw: st.DrawFn, rule: Json) -> tuple[int, int]:
    """Give a width and a height within area, sides, ratio and step, the edges among them."""
    step, ratio = rule["side_multiple"], rule["ratio_max"] or 100
    most = rule["pixels_max"] or (rule["side_max"] or 10_000) ** 2
    least_side = max(rule["side_min"] or 1, math.isqrt((rule["pixels_min"] or 1) // ratio))
    most_side = min(rule["side_max"] or 99_999, math.isqrt(most * ratio))
    width = draw(st.integers(-(-least_side // step), most_side // step)) * step
    low = max(-(-(rule["pixels_min"] or 1) // width), -(-width // ratio), rule["side_min"] or 1)
    high = min(most // width, width * ratio, rule["side_max"] or 99_999)
    low, high = -(-low // step), high // step
    if low > high:
        side = math.isqrt(most) // step * step
        return side, side
    return width, draw(st.integers(low, high)) * step


def _ratios(entry: Json) -> st.SearchStrategy[str]:
    schema, most = properties(entry)["aspect_ratio"], _longest(entry["limits"]["size"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    sides = st.integers(1, 99)
    pairs = st.tuples(sides, sides).filter(lambda pair: max(pair) <= most * min(pair))
    return pairs.map(lambda pair: f"{pair[0]}:{pair[1]}")


def _longest(rule: Json) -> float:
    """Give the longest shape the published numbers leave: by ratio, by sides, by area."""
    least, most = rule["side_min"], rule["side_max"]
    bounds = [rule["ratio_max"] or 20]
    if least:
        bounds += [most / least] if most else []
        bounds += [rule["pixels_max"] / least**2] if rule["pixels_max"] else []
    return float(min(bounds))


def _pictures(schema: Json, pictures: list[str]) -> st.SearchStrategy[list[str]]:
    most = min(schema["maxItems"], len(pictures))
    return st.integers(max(1, schema["minItems"]), most).map(lambda count: pictures[:count])


@st.composite
def palettes(draw: st.DrawFn, schema: Json) -> list[Json]:
    """Give colours whose whole shares sum to 100."""
    count = draw(st.integers(schema["minItems"], schema["maxItems"]))
    cuts = draw(st.lists(st.integers(1, 99), min_size=count - 1, max_size=count - 1, unique=True))
    edges = [0, *sorted(cuts), 100]
    return [{"hex": draw(HEX), "ratio": right - left} for left, right in pairwise(edges)]


def _boxes(schema: Json, pictures: list[str]) -> Field:
    """Give boxes inside the pictures of 512 by 512 they belong to."""
    corner = st.integers(0, 255)
    far = st.integers(256, 512)
    box = st.tuples(corner, corner, far, far).map(list)
    per_picture = st.lists(box, max_size=schema["items"]["maxItems"])
    # Qingbo draws boxes on one picture only, other upstreams on all.
    return st.lists(per_picture, min_size=1, max_size=9).map(
        lambda lists: {"bbox_list": lists, "image_urls": pictures[: len(lists)]}
    )


def _groups(entry: Json) -> Field:
    most = entry["limits"]["n"]["group_max"]
    return st.integers(1, most).map(lambda n: {"enable_sequential": True, "n": n})


# --- just outside ---------------------------------------------------------------------------


def outside(entry: Json, pictures: list[str]) -> Iterator[tuple[str, Json]]:
    """Give bodies' parts that go one step too far, and the field that is to be named."""
    known, limits = properties(entry), entry["limits"]
    for name in ("prompt", "negative_prompt"):
        if name in known:
            yield name, {name: "x" * (known[name]["maxLength"] + 1)}
    yield "n", {"n": limits["n"]["max"] + 1}
    yield "n", {"n": 0}
    if "enable_sequential" in known:
        yield "n", {"enable_sequential": True, "n": limits["n"]["group_max"] + 1}
    if "seed" in known:
        yield "seed", {"seed": known["seed"]["maximum"] + 1}
        yield "seed", {"seed": known["seed"]["minimum"] - 1}
    if "color_palette" in known:
        few, many = known["color_palette"]["minItems"] - 1, known["color_palette"]["maxItems"] + 1
        for count in (few, many):
            colors = [{"hex": "#000000", "ratio": 1}] * (count - 1)
            colors.append({"hex": "#000000", "ratio": 100 - (count - 1)})
            yield "color_palette", {"color_palette": colors}
    if "bbox_list" in known:
        boxes = [[1, 1, 2, 2]] * (known["bbox_list"]["items"]["maxItems"] + 1)
        yield "bbox_list[0]", {"bbox_list": [boxes], "image_urls": pictures[:1]}
    if "image_urls" in known:
        yield "image_urls", {"image_urls": pictures[:1] * (known["image_urls"]["maxItems"] + 1)}
    else:
        yield "image_urls", {"image_urls": pictures[:1]}
    for name in limits["options"]:
        yield from ((name, {name: value}) for value in _beyond(known[name]))
    yield from (("size", {"size": text}) for text in _sizes_outside(limits["size"]))
    if "aspect_ratio" in known and (limits["size"]["ratio_max"] or limits["size"]["side_min"]):
        yield "aspect_ratio", {"aspect_ratio": "100:1"}
    if "resolution" in known:
        yield "resolution", {"resolution": "8K"}


def _beyond(schema: Json) -> Iterator[Any]:
    if "enum" in schema:
        yield "no-such-word"
    if "maximum" in schema:
        yield schema["maximum"] + 1
    if "minimum" in schema:
        yield schema["minimum"] - 1


def _sizes_outside(rule: Json) -> Iterator[str]:
    """Give squares one step too small and too large, and the sides' and the ratio's other side."""
    step = rule["side_multiple"]
    yield "0x0"
    if rule["choices"]:
        width, _, height = rule["choices"][0].partition("x")
        yield f"{int(width) + 1}x{height}"
        return
    if rule["pixels_min"]:
        side = (math.isqrt(rule["pixels_min"] - 1)) // step * step
        yield f"{side}x{side}"
    most = rule["pixels_max_text_only"] or rule["pixels_max"]
    if most:
        side = math.isqrt(most) // step * step + step
        yield f"{side}x{side}"
    if rule["side_max"]:
        yield f"{rule['side_max'] + step}x{rule['side_max']}"
    if step > 1:
        yield f"{1024 + step // 2}x1024"
    if rule["ratio_max"]:
        short = math.isqrt((rule["pixels_min"] or 1_000_000) // rule["ratio_max"]) // step * step
        yield f"{short * rule['ratio_max'] + 4 * step}x{short}"
