"""Holds what clients saw, and what is in the database, against what is promised."""

import json
from collections import Counter, namedtuple

from cell import PASSWORD
from client import Client
from faults import ERRORS, ONCE
from load import UNAVAILABLE
from place import FOLDER, IDENTITYD, address
from process import hand_over, run, wait_for
from tree import roots, size_and_root
from watchers import digest

# One line of the table. `broken` lists what was promised and did not come true; nothing of it may be excused. `late` and
# `refused` can be: a time that was missed, and errors that this fault does not allow.
Verdict = namedtuple("Verdict", "stands_still errors acknowledged lost stale checkpoints broken late refused")


def judge(fault, key, record, follower, auditor, began, whole):
    """Everything about one fault. The load has ended, so the history does not grow any more."""
    events, leaves = export(key)
    broken = list(record.failures)
    lost = lost_writes(key, record, events)
    broken += [f"lost: {text}" for text in lost[:3]]
    broken += [f"stale: {stale}" for stale in record.stale[:3]]
    broken += order(events) + follower_differs(follower, events) + wrong_checkpoints(auditor, leaves)
    gap = longest_gap(record.acknowledged, began, whole)
    late = fault.seconds is not None and gap > fault.seconds
    errors = Counter(request.status for request in record.requests if request.status in UNAVAILABLE)
    refused = wrong_errors(fault, record, began, whole)
    return Verdict(gap, errors, len(record.acknowledged), len(lost), len(record.stale), len(auditor.notes), broken, late,
                   refused)


def export(key):
    """The events and the leaf hashes of the whole history. The file stays for the auditor."""
    answer = Client(address("api"), key).stream("/api/v1/events?leaf_hashes=true", {"Accept": "application/x-ndjson"})
    text = answer.read()
    path = FOLDER / "history.ndjson"
    path.write_bytes(text)
    hand_over(path)
    lines = [json.loads(line) for line in text.splitlines()]
    if answer.status != 200 or "trailer" not in lines[-1]:
        raise RuntimeError(f"the export was answered with {answer.status}, or was cut off")
    events = lines[:-1]
    return events, [event.pop("leaf_hash") for event in events]


def lost_writes(key, record, events):
    """What was acknowledged and is not in the history."""
    written = {event["payload"].get("description") for event in events}
    listed = json.loads(Client(address("api"), key).send("GET", "/api/v1/identities")[1])
    shown = {identity["agent_handle"] for identity in listed}
    lost = [description for known in record.descriptions.values() for _, description in known
            if description not in written]
    return lost + [f"{handle} in the list of identities" for handle in record.handles if handle not in shown]


def order(events):
    """Whether sequences and positions have no holes."""
    sequences = [event["organization_sequence"] for event in events]
    broken = [] if sequences == list(range(1, len(events) + 1)) else ["the sequences of the organization have holes"]
    [counts] = query("select count(*), min(position), max(position), (select position from log_head) from events")
    count, first, last, head = (int(number) for number in counts.split("|"))
    if not (count == last - first + 1 and last == head):
        broken.append(f"{count} events have the positions {first} to {last}, and the head is at {head}")
    return broken


def query(statement):
    url = f"postgres://identityd:{PASSWORD}@{address('database')}/identityd"
    return run(["psql", "--no-psqlrc", "--tuples-only", "--no-align", "--command", statement, url], {}).split()


def follower_differs(follower, events):
    """Whether the follower's copy is the history, once it has come to its end."""
    try:
        wait_for("the follower at the end of the history", lambda: len(follower.copy) >= len(events), 30)
    except TimeoutError as error:
        return [str(error)]
    history = {event["organization_sequence"]: digest(event) for event in events}
    return [] if follower.copy == history else ["the follower's copy is not the history"]


def wrong_errors(fault, record, began, whole):
    """Errors that this fault does not allow."""
    failed = [request for request in record.requests if request.status in UNAVAILABLE]
    if fault.errors == ERRORS:
        failed = [request for request in failed if request.ended < began or request.began > whole]
    if fault.errors == ONCE:
        failed = [request for request in failed if request.sent_again or request.attempt > 1]
    return [f"{request.what} got {request.status} at attempt {request.attempt}: {request.text[:200]!r}"
            for request in failed[:3]]


def wrong_checkpoints(auditor, leaves):
    """Whether the export continues every checkpoint that was ever fetched. The command verifies it against the first and
    the newest one; for all others the root is computed here."""
    said = {note: size_and_root(note) for note in auditor.notes}
    computed = roots(leaves, {size for size, _ in said.values()})
    broken = [f"{note.name} says {root} for {size} events" for note, (size, root) in said.items()
              if computed.get(size) != root]
    return broken[:3] + refused_export(auditor, auditor.notes[0]) + refused_export(auditor, auditor.notes[-1])


def refused_export(auditor, note):
    """What the command has to say against the export."""
    try:
        run([IDENTITYD, "audit", "verify", FOLDER / "history.ndjson", "--key", auditor.verifier_key,
             "--previous", note], {})
    except RuntimeError as error:
        return [f"{note.name}: {error}"]
    return []


def longest_gap(moments, began, ended):
    """The longest time between two acknowledgements from just before the fault to its end."""
    inside = [moment for moment in sorted(moments) if began - 1 <= moment <= ended]
    return max(later - earlier for earlier, later in zip(inside, [*inside[1:], ended]))
