"""What the load has seen. Every thread adds to it; it is judged when they have ended."""

import threading
import time
from collections import namedtuple

# One request: when it began and ended, what was asked, the status (0: the connection broke), whether the balancer sends it again by
# itself, which attempt it was, and what the answer said if it was an error.
Request = namedtuple("Request", "began ended what status sent_again attempt text")

# A read that did not show what was acknowledged before.
Stale = namedtuple("Stale", "moment handle expected found")


class Record:
    """All requests of one run, and everything that was ever acknowledged."""

    def __init__(self):
        self.lock = threading.Lock()
        self.handles = []
        # For each handle the descriptions that were acknowledged, with the moment.
        self.descriptions = {}
        self.begin_run()

    def begin_run(self):
        self.requests = []
        self.stale = []
        self.failures = []
        self.acknowledged = []

    def request(self, began, what, status, sent_again, attempt, text):
        self.requests.append(Request(began, time.monotonic(), what, status, sent_again, attempt, text))

    def acknowledge(self, handle, description):
        """Remembers a write that was answered with success."""
        now = time.monotonic()
        with self.lock:
            self.acknowledged.append(now)
            if handle not in self.descriptions:
                self.handles.append(handle)
            self.descriptions.setdefault(handle, []).append((now, description))

    def expected(self, handle, at):
        """The newest description that was acknowledged before this moment, or None if there is none so old."""
        with self.lock:
            known = [description for moment, description in self.descriptions[handle] if moment <= at]
        return known[-1] if known else None

    def fail(self, text):
        """Something happened that no fault excuses."""
        self.failures.append(text)
