"""A node of the database: Patroni and the Postgres that it runs."""

import json
import signal
import urllib.error
import urllib.request

from process import Process, children, send


class Node(Process):
    """Patroni with its Postgres, which are killed and frozen together, as a machine is."""

    def __init__(self, name, arguments, changes, log, entrance=None):
        super().__init__(name, arguments, changes, log, entrance)
        self.rest = f"http://{changes['PATRONI_RESTAPI_CONNECT_ADDRESS']}"
        self.pid_file = f"{changes['PATRONI_POSTGRESQL_DATA_DIR']}/postmaster.pid"

    def pids(self):
        """Patroni first, so that it does not start again what is killed after it."""
        return super().pids() + self.postgres_pids()

    def postgres_pids(self):
        postmaster = self.postmaster()
        return [postmaster] + children(postmaster) if postmaster else []

    def postmaster(self):
        """The id of the server, if one runs. A server that was killed leaves its file behind."""
        try:
            with open(self.pid_file, encoding="utf-8") as file:
                pid = int(file.readline())
            with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                return pid if "postgres" in file.read() else None
        except (OSError, ValueError):
            return None

    def kill_patroni(self):
        """Leaves a Postgres that does not know that it is not looked after any more."""
        self.running.kill()
        self.running.wait(timeout=10)

    def stop(self, seconds=15):
        super().stop(seconds)
        for pid in self.postgres_pids():
            send(pid, signal.SIGKILL)

    def cluster(self):
        """The members of the cluster as this node sees them, by name; empty if it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.rest}/cluster", timeout=2) as answer:
                return {member["name"]: member for member in json.load(answer)["members"]}
        except (OSError, ValueError, KeyError, urllib.error.URLError):
            return {}
