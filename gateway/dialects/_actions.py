"""The six ``action`` words of seed 003 and what each demands of the other fields (rule R12)."""

from __future__ import annotations

from gateway.dialects._fields import Fields
from gateway.dialects._schemas import ACTIONS
from gateway.domain.request import Mode

# The picture counts an action allows. ``interactive_edit`` takes as many as the model (D10).
_PICTURES = {
    "generate": (0, 0),
    "image2image": (1, 1),
    "edit": (1, 1),
    "reference": (2, 9),
    "interactive_edit": (1, 9),
}
_WORDS = {
    Mode.GENERATE: "generate",
    Mode.EDIT: "image2image",
    Mode.REFERENCE: "reference",
    Mode.GROUP: "group",
    Mode.INTERACTIVE_EDIT: "interactive_edit",
}


def read_action(fields: Fields, *, pictures: int, boxes: bool, group: bool | None) -> str | None:
    """Read ``action`` and refuse it where it contradicts the other fields; absent is fine.

    ``group`` is what ``enable_sequential`` says. The fields decide the mode; only ``group``
    may stand alone.
    """
    action = fields.choice("action", ACTIONS)
    if action is None:
        return None
    low, high = _PICTURES.get(action, (0, 9))
    if not low <= pictures <= high:
        count = f"{low}" if low == high else f"{low} to {high}"
        message = f"action {action} takes {count} pictures, not {pictures}."
        fields.refuse("action", message, legal=_fitting(pictures, boxes=boxes))
    elif action == "group" and group is False:
        fields.refuse("action", "action group contradicts enable_sequential: false.")
    if action == "interactive_edit" and not boxes:
        fields.refuse("bbox_list", "action interactive_edit needs bbox_list.")
    if action != "interactive_edit" and boxes:
        message = f"bbox_list goes with action interactive_edit, not {action}."
        fields.refuse("bbox_list", message, legal="interactive_edit")
    return action


def action_word(mode: str) -> str:
    """Give the action that stands for a mode."""
    return _WORDS.get(Mode(mode), "generate") if mode in list(Mode) else "generate"


def _fitting(pictures: int, *, boxes: bool) -> str:
    words = [word for word, (low, high) in _PICTURES.items() if low <= pictures <= high]
    return ", ".join(word for word in words if boxes == (word == "interactive_edit")) or "group"
