"""A follower that keeps a copy of the history, and an auditor that keeps checkpoints."""

import hashlib
import http.client
import json
import threading
import time

from client import Client
from place import FOLDER

SECONDS_BETWEEN_CHECKPOINTS = 2


def digest(event):
    """Two events are the same if their members are, in whatever order they are written."""
    return hashlib.sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()


class Follower:
    """Follows the feed as server-sent events, and connects again where it broke off."""

    def __init__(self, address, key, record):
        self.address = address
        self.key = key
        self.record = record
        self.cursor = None
        # The digest of each event, by its sequence.
        self.copy = {}
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        while True:
            client = Client(self.address, self.key)
            try:
                self.follow_once(client)
            except (OSError, http.client.HTTPException):
                pass
            client.close()
            time.sleep(0.2)

    def follow_once(self, client):
        headers = {"Accept": "text/event-stream"}
        if self.cursor:
            headers["Last-Event-ID"] = self.cursor
        answer = client.stream("/api/v1/events", headers)
        if answer.status not in (200, 502, 503, 504):
            self.record.fail(f"the feed answered {answer.status}: {answer.read()[:200]!r}")
        if answer.status == 200:
            for fields in messages(answer):
                self.take(fields)

    def take(self, fields):
        if fields.get("event") == "history_changed":
            self.record.fail("the feed says that history has changed")
        elif "data" in fields:
            event = json.loads(fields["data"])
            sequence = event["organization_sequence"]
            if sequence in self.copy:
                self.record.fail(f"the feed showed event {sequence} twice")
            self.copy[sequence] = digest(event)
            self.cursor = fields["id"]


def messages(answer):
    """The messages of a stream, each as its fields."""
    fields = {}
    while True:
        line = answer.readline()
        if not line:
            return
        line = line.decode().rstrip("\r\n")
        if not line:
            if fields:
                yield fields
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")


class Auditor:
    """Fetches a checkpoint now and then, and keeps each in a file of its own."""

    def __init__(self, address, key):
        self.client = Client(address, key)
        self.notes = []
        self.verifier_key = self.client.send("GET", "/api/v1/log/key")[1].decode().strip()
        threading.Thread(target=self.collect, daemon=True).start()

    def collect(self):
        while True:
            status, note = self.client.send("GET", "/api/v1/log/checkpoint")
            if status == 200 and (not self.notes or note != self.notes[-1].read_bytes()):
                self.keep(note)
            time.sleep(SECONDS_BETWEEN_CHECKPOINTS)

    def keep(self, note):
        path = FOLDER / "notes" / f"{len(self.notes)}.note"
        path.write_bytes(note)
        self.notes.append(path)
