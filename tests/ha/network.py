"""A network for each node of the database, as a machine of its own has it, so that nodes can be cut off from each other.

Each node is in a network namespace. A bridge connects the three, and our own processes: HAProxy, identityd and the clients. To cut two
nodes off from each other, each sends what is for the other one to a hardware address that nobody has: packets are lost, and nobody is
told. This takes root and a kernel with namespaces; `is_made` says whether the cell has such networks. Without them every process
listens on loopback, and the fault that needs them is left out."""

import os
import shutil
import subprocess

from process import account

# Below the range from which the system gives out ports by itself.
FIRST_PORT = int(os.environ.get("HA_FIRST_PORT", "24100"))
NODES = (1, 2, 3)

# Addresses for tests of networks (RFC 2544). Another first port makes another network.
SUBNET = f"198.18.{FIRST_PORT // 10 % 256}"
BRIDGE = f"ha{FIRST_PORT}"
NOBODY = "02:00:00:00:00:01"

made = False


def is_made():
    return made


def host(number):
    """The address of a node."""
    return f"{SUBNET}.{number}" if made else "127.0.0.1"


def make():
    """Makes the networks, after those that a killed run has left. Returns what is missing, or nothing."""
    global made
    if os.getuid() != 0:
        return "only root makes networks"
    if not shutil.which("ip"):
        return "there is no program `ip` (iproute2)"
    remove()
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{SUBNET}.254/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for number in NODES:
            connect(number)
    except (OSError, subprocess.CalledProcessError) as error:
        remove()
        return f"{error}: {getattr(error, 'stderr', '').strip()}"
    made = True
    return None


def connect(number):
    """A namespace with loopback, and one end of a cable whose other end is at the bridge."""
    ip("netns", "add", name(number))
    ip("link", "add", name(number), "type", "veth", "peer", "name", "eth0", "netns", name(number))
    ip("link", "set", name(number), "master", BRIDGE, "up")
    inside(number, "link", "set", "lo", "up")
    inside(number, "addr", "add", f"{SUBNET}.{number}/24", "dev", "eth0")
    inside(number, "link", "set", "eth0", "up")


def remove():
    """A namespace takes its end of the cable along, and with it the other end. What is not there is not removed."""
    global made
    made = False
    for number in NODES:
        ip("netns", "delete", name(number), check=False)
    ip("link", "delete", BRIDGE, check=False)


def cut_off(number):
    """Nothing gets from this node to the other nodes, nor back. Our own processes reach all of them."""
    for one, other in pairs(number):
        inside(one, "neigh", "replace", f"{SUBNET}.{other}", "lladdr", NOBODY, "dev", "eth0", "nud", "permanent")


def connect_again(number):
    for one, other in pairs(number):
        inside(one, "neigh", "delete", f"{SUBNET}.{other}", "dev", "eth0")


def pairs(number):
    """This node and each other one, in both directions."""
    others = [other for other in NODES if other != number]
    return [(number, other) for other in others] + [(other, number) for other in others]


def enter(number):
    """What stands before a command that is to run in the network of a node, under the account of the cell."""
    user = account()
    return ["nsenter", f"--net=/run/netns/{name(number)}", f"--setgid={user.pw_gid}", f"--setuid={user.pw_uid}", "--"]


def name(number):
    return f"{BRIDGE}n{number}"


def inside(number, *arguments):
    ip("-n", name(number), *arguments)


def ip(*arguments, check=True):
    subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)
