"""Writers and readers. They come through the balancer, and repeat what failed until it is answered."""

import itertools
import json
import random
import threading
import time
from urllib.parse import quote

from client import Client
from record import Stale

WRITERS = 8
# These have no Idempotency-Key, so a repeated create may be answered with 409 for the handle that it made itself.
WRITERS_WITHOUT_KEYS = 2
READERS = 2

# The load is bounded: what is tested is not speed.
PAUSE_BETWEEN_REQUESTS = 0.02
PAUSE_BEFORE_RETRY = 0.1

# What may be answered while something is broken: by the service, by the balancer, by nobody.
UNAVAILABLE = (0, 502, 503, 504)


class Load:
    """All threads of the load for one run."""

    def __init__(self, address, key, record, run):
        self.address = address
        self.key = key
        self.record = record
        self.run = run
        self.ends = threading.Event()
        self.threads = [threading.Thread(target=self.write, args=(number,), daemon=True) for number in range(WRITERS)]
        self.threads += [threading.Thread(target=self.read, daemon=True) for _ in range(READERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, error, *_):
        self.ends.set()
        if error:
            return
        deadline = time.monotonic() + 60
        for thread in self.threads:
            thread.join(timeout=max(0, deadline - time.monotonic()))
            if thread.is_alive():
                self.record.fail("a client got no final answer within 60 seconds after the fault")

    def write(self, writer):
        """Creates an identity, changes its description twice, and begins again."""
        client = Client(self.address, self.key)
        has_keys = writer >= WRITERS_WITHOUT_KEYS
        for number in itertools.count():
            if self.ends.is_set():
                return
            handle = f"r{self.run}-w{writer}-{number}"
            if not self.send(client, "POST", "/api/v1/identities", handle, "first", has_keys):
                continue
            for description in ("second", "third"):
                self.send(client, "PATCH", f"/api/v1/identities/{quote(handle)}", handle, description, has_keys)

    def send(self, client, method, path, handle, description, has_keys):
        """Sends a write until it is answered. Returns whether it was acknowledged."""
        body = {"description": f"{description} of {handle}"}
        if method == "POST":
            body["agent_handle"] = handle
        headers = {"Idempotency-Key": f"{handle}-{description}"} if has_keys else {}
        for attempt in itertools.count(1):
            status, text = self.attempt(client, method, path, body, headers, attempt)
            if status in UNAVAILABLE or b"idempotency_in_progress" in text:
                time.sleep(PAUSE_BEFORE_RETRY)
                continue
            time.sleep(PAUSE_BETWEEN_REQUESTS)
            if status in (200, 201):
                self.record.acknowledge(handle, body["description"])
                return True
            return self.refused(method, path, status, text, has_keys, attempt)

    def attempt(self, client, method, path, body, headers, attempt):
        """One request. The balancer sends it again by itself if it is a read, or has an Idempotency-Key."""
        began = time.monotonic()
        status, text = client.send(method, path, body, headers)
        what = f"{method} with a key" if headers else method
        sent_again = method == "GET" or bool(headers)
        self.record.request(began, what, status, sent_again, attempt, text if status >= 400 or status == 0 else b"")
        return status, text

    def refused(self, method, path, status, text, has_keys, attempt):
        """A refusal is a failure, but for a create without a key that was carried out before its connection broke."""
        made_before = status == 409 and method == "POST" and not has_keys and attempt > 1
        if not made_before:
            self.record.fail(f"{method} {path}, attempt {attempt}: {status} {text[:200]!r}")
        return made_before

    def read(self):
        """Reads something that was acknowledged, and looks whether the answer is as new."""
        client = Client(self.address, self.key)
        while not self.ends.is_set():
            time.sleep(PAUSE_BETWEEN_REQUESTS)
            known = len(self.record.handles)
            if known == 0:
                continue
            # Half of the reads are of what was written last.
            first = max(0, known - 100) if random.random() < 0.5 else 0
            self.read_one(client, self.record.handles[random.randrange(first, known)])

    def read_one(self, client, handle):
        """Sends a read until it is answered. What it has to show is what was acknowledged before its last attempt."""
        for attempt in itertools.count(1):
            began = time.monotonic()
            expected = self.record.expected(handle, began)
            status, text = self.attempt(client, "GET", f"/api/v1/identities/{quote(handle)}", None, {}, attempt)
            if status not in UNAVAILABLE:
                return self.compare(began, handle, expected, status, text)
            time.sleep(PAUSE_BEFORE_RETRY)

    def compare(self, began, handle, expected, status, text):
        if status not in (200, 404):
            self.record.fail(f"GET {handle}: {status} {text[:200]!r}")
            return
        found = json.loads(text)["description"] if status == 200 else None
        if expected and (found is None or rank(found) < rank(expected)):
            self.record.stale.append(Stale(began, handle, expected, found))


def rank(description):
    """The age of a description: a later one is greater."""
    return ("first", "second", "third").index(description.partition(" ")[0])
