"""The faults: what breaks, and what is promised of it."""

import signal
import time
from collections import namedtuple

import cell as cells
import network
from place import PATRONI
from process import run

# How long a node is away before it is started again. By then another one is the primary.
AWAY_SECONDS = 30
SILENT_SECONDS = 45
ETCD_SECONDS = 30
APART_SECONDS = 30

# Whether clients may see errors: while the fault lasts; at the first attempt of a request alone, if the balancer does not send that
# again by itself; or not at all.
ERRORS, ONCE, NONE = "until it is over", "at the first attempt", "none"

# The target where the leader of etcd may go together with the primary: it takes up to 2 seconds to choose another one, which prolongs
# the lease, and candidates wait 2 seconds for an answer of the old primary.
WITH_ETCD = 27

# The name of the fault that takes networks, see `network`.
CUT_OFF = "primary-cut-off"

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


def kill_machine(cell):
    """The machine of the primary dies: its etcd, its Patroni with Postgres, and an identityd."""
    number = cell.nodes.index(cell.primary())
    machine = [cell.etcd[number], cell.nodes[number], cell.services[number % len(cell.services)]]
    for process in machine:
        process.kill()
    time.sleep(AWAY_SECONDS)
    for process in machine:
        process.start()


def cut_off_primary(cell):
    """The machine of the primary reaches no other node, and none reaches it. HAProxy, and so clients, still reach all three."""
    number = cell.nodes.index(cell.primary()) + 1
    network.cut_off(number)
    time.sleep(APART_SECONDS)
    network.connect_again(number)


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
    Fault("machine-killed", "machine of the primary killed: etcd, Postgres, identityd", kill_machine, WITH_ETCD, ERRORS),
    Fault(CUT_OFF, f"primary cut off from the other nodes for {APART_SECONDS} s", cut_off_primary, WITH_ETCD, ERRORS),
    Fault("primary-abandoned", "Patroni of the primary killed, Postgres not", abandon_primary, 25, ERRORS),
    Fault("standby-killed", "synchronous standby killed", kill_synchronous_standby, 6, NONE),
    Fault("standby-silent", "synchronous standby silent for 20 s", silence_synchronous_standby, 6, NONE),
    Fault("identityd-killed", "one of two identityd killed", kill_identityd, None, ONCE),
    Fault("identityd-restarted", "one of two identityd restarted in order", restart_identityd, None, NONE),
    Fault("etcd-away", f"etcd away for {ETCD_SECONDS} s", kill_etcd, 1, NONE),
]
