"""Where the cell lives: its folder, its ports, and the settings that are shipped in packaging/ha."""

import os
import shutil
from pathlib import Path

import network
from network import FIRST_PORT, NODES
from process import hand_over

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "packaging" / "ha"
FOLDER = ROOT / "target" / "ha"
PATRONI = ROOT / "target" / "patroni-4.1.5" / "bin"
IDENTITYD = Path(os.environ.get("IDENTITYD", ROOT / "target" / "debug" / "identityd")).resolve()

# What runs on the machine of a node, as opposed to that of an identityd.
ON_NODES = ("etcd", "etcd_peer", "postgres", "patroni")


def address(kind, number=0):
    """The address of one server of the cell."""
    kinds = ["api", "database", "identityd", "etcd", "etcd_peer", "postgres", "patroni"]
    host = network.host(number) if kind in ON_NODES else "127.0.0.1"
    return f"{host}:{FIRST_PORT + 10 * kinds.index(kind) + 2 * number}"


def port(kind, number=0):
    return address(kind, number).rpartition(":")[2]


def make_folders():
    """An empty folder for the cell, which the account of its processes owns."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name in ("", "log", "data", "notes"):
        (FOLDER / name).mkdir(parents=True)
        hand_over(FOLDER / name)


def settings(name, **changes):
    """The variables of a shipped file, with the values of this cell. A name that the file does not have is an error."""
    lines = (SHIPPED / name).read_text(encoding="utf-8").splitlines()
    shipped = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    unknown = changes.keys() - shipped.keys()
    if unknown:
        raise KeyError(f"packaging/ha/{name} does not have {sorted(unknown)}")
    return shipped | changes


def write(name, text):
    """A file that the account of the cell owns, and that nobody else can read."""
    path = FOLDER / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    hand_over(path)
    return path
