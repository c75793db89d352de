"""Processes of the cell: started under an account that is not root, and ended by their ids."""

import os
import pwd
import signal
import subprocess
import time
from pathlib import Path


def account():
    """The account of every process. Postgres refuses to run as root, so root uses the account `postgres`."""
    return pwd.getpwnam("postgres") if os.getuid() == 0 else None


def hand_over(path):
    """Gives a folder or a file to the account."""
    if account():
        os.chown(path, account().pw_uid, account().pw_gid)


def as_account():
    """The arguments of Popen that switch to the account."""
    if not account():
        return {}
    return {"user": account().pw_uid, "group": account().pw_gid, "extra_groups": []}


def environment(changes):
    """Nothing of our own environment but the path: a PGDATA or a DATABASE_URL would change what is tested. HAProxy is where
    only root looks by itself."""
    return {"PATH": f"{os.environ['PATH']}:/usr/sbin", "LC_ALL": "C.UTF-8", "NO_PROXY": "127.0.0.1"} | changes


def run(arguments, changes, timeout=60):
    """Runs a program to its end and returns what it printed."""
    done = subprocess.run(
        [str(argument) for argument in arguments], env=environment(changes), capture_output=True, text=True,
        timeout=timeout, cwd="/", **as_account())
    if done.returncode != 0:
        raise RuntimeError(f"{arguments[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Process:
    """A program that runs until it is stopped, with its log in a file."""

    def __init__(self, name, arguments, changes, log, entrance=None):
        self.name = name
        # A command that switches to the network of a node and to the account, and then runs the program in its place.
        self.entrance = entrance
        self.arguments = [str(argument) for argument in arguments]
        self.changes = changes
        self.log = log
        self.running = None

    def start(self):
        with open(self.log, "ab") as log:
            user = {} if self.entrance else as_account()
            self.running = subprocess.Popen(
                [*(self.entrance or []), *self.arguments], env=environment(self.changes), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, cwd="/", start_new_session=True, **user)

    def pids(self):
        return [self.running.pid] if self.is_running() else []

    def is_running(self):
        return self.running is not None and self.running.poll() is None

    def signal(self, number):
        for pid in self.pids():
            send(pid, number)

    def kill(self):
        """Ends the process as a power cut would."""
        self.signal(signal.SIGKILL)
        if self.running:
            self.running.wait(timeout=10)

    def ask_to_end(self):
        if self.is_running():
            self.running.terminate()

    def stop(self, seconds=15):
        """Ends the process in order, or kills it if it takes longer."""
        if not self.is_running():
            return
        self.ask_to_end()
        try:
            self.running.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()


def send(pid, number):
    """Sends a signal to a process that may have ended by itself."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def children(parent):
    """The processes that this one has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name stands in brackets and may contain spaces; the parent is the second field after it.
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return found


def wait_for(what, condition, seconds=60, pause=0.2):
    """Waits for a state, and fails with its name if it does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(pause)
    raise TimeoutError(f"waited {seconds} s in vain: {what}")
