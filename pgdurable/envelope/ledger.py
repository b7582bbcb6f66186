"""All items of one attempt: which are open, how the author calls them, which ids are taken."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple
from uuid import uuid4

from pgdurable.envelope.item import Item
from pgdurable.envelope.kinds import CALL_IDENTITY, ID_PREFIXES, NEEDED, OUTPUT_TYPES
from pgdurable.envelope.shapes import texts
from pgdurable.models import NewEvent

_USABLE_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:=+/~|@-]{0,255}\Z")
"""Item ids are stored as text and sent back by clients: no U+0000, no spaces, no novels."""


class Announced(NamedTuple):
    """What a stored item is called."""

    type: str
    id: str
    call_id: str | None


class Ledger:
    """Opens, finds and closes items; assigns output indexes and ids, each at most once."""

    def __init__(self, response_id: str) -> None:
        self._response_id = response_id
        self.next_index = 0
        self.used_ids: set[str] = set()
        self.used_calls: set[tuple[str, str]] = set()
        self.finals: list[tuple[int, bytes]] = []
        """(output_index, JSON) of every item closed in this attempt."""
        self.expected: dict[int, Announced] = {}
        """The names of stored items that an attempt which starts over announces again."""
        self.current: Item | None = None
        """The item of the last event: where text without any reference goes."""
        self._open: dict[Item, None] = {}
        self._by_id: dict[str, list[Item]] = {}
        self._latest: dict[str, Item] = {}
        self._bare: Item | None = None
        self._calls: dict[str, str] = {}
        self._unclaimed: list[Item] = []

    def open(
        self,
        item_type: str,
        ref_id: str | None,
        ref_index: int | None,
        out: list[NewEvent],
        *,
        declared: dict[str, Any] | None = None,
        explicit: bool = False,
    ) -> Item:
        """A new item; a nameless one that text without references had opened ends here."""
        if self._bare is not None:
            self.close(self._bare, "completed", out)
        item = Item(item_type, self._own_id(item_type, ref_id))
        item.inner_id = ref_id
        item.inner_index = ref_index
        item.explicit = explicit
        self._open[item] = None
        self._unclaimed.append(item)
        if ref_id is not None:
            self._by_id.setdefault(ref_id, []).append(item)
            self._latest[ref_id] = item
        elif not explicit:
            self._bare = item
        self.current = item
        self.declare(item, declared or {}, out)
        return item

    def declare(self, item: Item, declared: dict[str, Any], out: list[NewEvent]) -> None:
        """Take over what the author says about the item; announce it once enough is known."""
        item.declared = {**item.declared, **declared}
        call = item.declared.get("call_id")
        item.inner_call = call if isinstance(call, str) and call else None
        if not item.announced and item.can_be_announced():
            self._announce(item, out)

    def close(self, item: Item, status: str, out: list[NewEvent]) -> None:
        if not item.announced:
            for key in NEEDED.get(item.type, ()):
                if not item.declared.get(key):
                    item.declared[key] = f"call_{uuid4().hex}" if key == "call_id" else ""
            self._announce(item, out)
        self.finals.append((item.index, item.close(status, out)))
        del self._open[item]
        if item is self._bare:
            self._bare = None
        if item.inner_id is not None:
            same = self._by_id[item.inner_id]
            same.remove(item)
            if not same:
                del self._by_id[item.inner_id]

    def close_all(self, status: str, out: list[NewEvent]) -> None:
        for item in list(self._open):
            self.close(item, status, out)

    def find(self, item_type: str | None, ref_id: str | None, ref_index: int | None) -> Item | None:
        """The open item an event refers to; None where it must be a new one.

        An id decides, its index where several items share it; then an index; then, for events
        without any reference, the current item or the last one the author announced.
        """
        if ref_id is not None:
            same = [i for i in self._by_id.get(ref_id, ()) if item_type in (None, i.type)]
            return self._choose(same, ref_id, ref_index)
        for item in reversed(self._open):
            same_place = ref_index is not None and item.inner_index == ref_index
            if same_place and item_type in (None, item.type):
                return item
        return self._implied(item_type, ref_index)

    def find_declared(
        self, declared: dict[str, Any], ref_id: str | None, ref_index: int | None
    ) -> Item | None:
        """The open item that a finished one, given as a whole, is the end of."""
        item_type = declared["type"]
        if ref_id is not None and (found := self.find(item_type, ref_id, ref_index)) is not None:
            return found
        call = declared.get("call_id")
        for item in reversed(self._open):
            if item.type == item_type and call and item.inner_call == call:
                return item
        found = self.find(item_type, None, ref_index)
        if found is None or (found.inner_call and call and found.inner_call != call):
            return None
        if found.explicit and ref_id is None:
            return found
        same_place = ref_index is not None and found.inner_index == ref_index
        exact = found is not self._bare and not same_place
        return found if _same_text(found, declared, exact=exact) else None

    def last_seen(self, ref_id: str | None) -> Item | None:
        """The item last called so, open or closed."""
        return None if ref_id is None else self._latest.get(ref_id)

    def claim(self, declared: dict[str, Any], position: int) -> Item | None:
        """The item of this attempt that an inner call's final output lists; each only once."""
        best: Item | None = None
        best_rank = (0, False)
        text = texts(declared)
        for item in self._unclaimed:
            rank = (self._likeness(item, declared, text, position), not item.closed)
            if rank[0] and rank >= best_rank:
                best, best_rank = item, rank
        if best is not None:
            self.disclaim(best)
        return best

    def disclaim(self, item: Item) -> None:
        """No inner call's output may be taken for this item any more."""
        self._unclaimed.remove(item)

    def _announce(self, item: Item, out: list[NewEvent]) -> None:
        index, self.next_index = self.next_index, self.next_index + 1
        known = self.expected.get(index)
        if known is not None and known.type == item.type:
            item.announce(index, self._known_call(item, known), out)
        else:
            item.announce(index, self._own_call(item), out)

    def _known_call(self, item: Item, known: Announced) -> str | None:
        """The item is a stored one, announced again: it keeps its id and its call id."""
        item.id = known.id
        self.used_ids.add(known.id)
        call = item.inner_call or item.declared.get("call_id")
        if known.call_id is not None:
            if isinstance(call, str) and call:
                self._calls[call] = known.call_id
            if item.type in CALL_IDENTITY:
                self.used_calls.add((item.type, known.call_id))
        return known.call_id

    def _choose(self, same: list[Item], ref_id: str, ref_index: int | None) -> Item | None:
        for item in reversed(same):
            if item.inner_index == ref_index:
                return item
        if ref_index is not None and self._is_placeholder(ref_id):
            same = [item for item in same if item.inner_index is None]
        return same[-1] if same else None

    def _implied(self, item_type: str | None, ref_index: int | None) -> Item | None:
        def fits(item: Item) -> bool:
            return item_type in (None, item.type) and None in (ref_index, item.inner_index)

        if self.current is not None and not self.current.closed and fits(self.current):
            return self.current
        if self._bare is not None and fits(self._bare):
            return self._bare
        return next((i for i in reversed(self._open) if i.explicit and fits(i)), None)

    def _likeness(self, item: Item, declared: dict[str, Any], text: str, position: int) -> int:
        if item.type != declared["type"]:
            return 0
        call, ref_id = declared.get("call_id"), declared.get("id")
        same_text = bool(text) and text == (item.fingerprint if item.closed else _streamed(item))
        if call and item.inner_call:
            return 4 if call == item.inner_call else 0
        if isinstance(ref_id, str) and item.inner_id and not self._is_placeholder(ref_id):
            return 3 if ref_id == item.inner_id else int(same_text)
        if item.inner_index == position:
            return 2
        return int(same_text)

    def _is_placeholder(self, ref_id: str) -> bool:
        """Ids that SDKs give to every item when the model sent none."""
        return ref_id == "__fake_id__" or ref_id.startswith("resp_") or ref_id == self._response_id

    def _own_id(self, item_type: str, ref_id: str | None) -> str:
        own = ref_id
        if (
            own is None
            or own in self.used_ids
            or self._is_placeholder(own)
            or not _USABLE_ID.match(own)
        ):
            own = ID_PREFIXES.get(item_type, "item_") + uuid4().hex
        self.used_ids.add(own)
        return own

    def _own_call(self, item: Item) -> str | None:
        """The call id the item goes by: outputs follow their call, a repeated call gets its own."""
        call = item.inner_call or item.declared.get("call_id")
        if not isinstance(call, str) or not call:
            return f"call_{uuid4().hex}" if item.type in NEEDED else None
        own = self._calls.get(call, call) if item.type in OUTPUT_TYPES else call
        if item.type in CALL_IDENTITY:
            if (item.type, own) in self.used_calls:
                own = f"call_{uuid4().hex}"
                self._calls[call] = own
            else:
                self._calls.pop(call, None)
            self.used_calls.add((item.type, own))
        return own


def _streamed(item: Item) -> str:
    if item.field is not None:
        return item.field.so_far()
    parts = (part for parts in item.lists.values() for part in parts)
    return "".join(part.so_far() for part in parts if hasattr(part, "so_far"))


def _same_text(item: Item, declared: dict[str, Any], *, exact: bool) -> bool:
    """Whether the text streamed so far is the declared item's, or the beginning of it."""
    streamed, whole = _streamed(item).strip(), texts(declared).strip()
    if exact:
        return bool(streamed) and streamed == whole and not item.explicit
    return not whole or whole.startswith(streamed)
