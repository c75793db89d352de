"""The faults: what breaks, and what is promised of it."""

import signal
import time
from collections import namedtuple

import cell as cells
from place import PATRONI
from process import run

# How long a node is away before it is started again. By then another one is the primary.
AWAY_SECONDS = 30
SILENT_SECONDS = 45
ETCD_SECONDS = 30

# Whether clients may see errors: while the fault lasts, at the first attempt of a request alone, or not at all.
ERRORS, ONCE, NONE = "until it is over", "at the first attempt", "none"

# `seconds` is the longest time for which no write may be acknowledged; None: there is no such target.
Fault = namedtuple("Fault", "name title inject seconds errors")


def switch_over(cell):
    """What an operator does before he takes a primary away."""
    leader, candidate = cell.primary().name, cell.synchronous_standby().name
    run([PATRONI / "patronictl", "-c", cells.patroni_file(), "switchover", "identityd", "--leader", leader,
         "--candidate", candidate, "--force"], cell.nodes[0].changes)


def kill_for_a_while(process, seconds):
    process.kill()
    time.sleep(seconds)
    process.start()


def kill_primary(cell):
    kill_for_a_while(cell.primary(), AWAY_SECONDS)


def silence_primary(cell):
    """The primary does nothing and closes nothing, like a machine that is paused, and then goes on."""
    silence_for_a_while(cell.primary(), SILENT_SECONDS)


def abandon_primary(cell):
    """Postgres goes on as a primary, while another node becomes the primary too."""
    node = cell.primary()
    node.kill_patroni()
    time.sleep(AWAY_SECONDS)
    node.start()


def silence_for_a_while(node, seconds):
    node.signal(signal.SIGSTOP)
    time.sleep(seconds)
    node.signal(signal.SIGCONT)


def kill_synchronous_standby(cell):
    kill_for_a_while(cell.synchronous_standby(), 10)


def silence_synchronous_standby(cell):
    silence_for_a_while(cell.synchronous_standby(), 20)


def kill_identityd(cell):
    kill_for_a_while(cell.services[0], 5)


def restart_identityd(cell):
    """What an upgrade does."""
    cell.services[1].stop()
    time.sleep(2)
    cell.services[1].start()


def kill_etcd(cell):
    for etcd in cell.etcd:
        etcd.kill()
    time.sleep(ETCD_SECONDS)
    for etcd in cell.etcd:
        etcd.start()


FAULTS = [
    Fault("switchover", "planned switchover", switch_over, 5, ERRORS),
    Fault("primary-killed", "primary killed", kill_primary, 25, ERRORS),
    Fault("primary-silent", f"primary silent for {SILENT_SECONDS} s", silence_primary, 25, ERRORS),
    Fault("primary-abandoned", "Patroni of the primary killed, Postgres not", abandon_primary, 25, ERRORS),
    Fault("standby-killed", "synchronous standby killed", kill_synchronous_standby, 6, NONE),
    Fault("standby-silent", "synchronous standby silent for 20 s", silence_synchronous_standby, 6, NONE),
    Fault("identityd-killed", "one of two identityd killed", kill_identityd, None, ONCE),
    Fault("identityd-restarted", "one of two identityd restarted in order", restart_identityd, None, NONE),
    Fault("etcd-away", f"etcd away for {ETCD_SECONDS} s", kill_etcd, 1, NONE),
]
