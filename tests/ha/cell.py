"""A whole cell on one machine, from the files in packaging/ha: three etcd, three nodes, HAProxy, two identityd."""

import base64
import json
import secrets
import signal
import urllib.request
from glob import glob

import network
import place
from node import Node
from place import FOLDER, IDENTITYD, NODES, PATRONI, SHIPPED, address, port, settings, write
from process import Process, run, wait_for

PASSWORD = "loopback"


class Cell:
    """Every process of the cell, by its kind."""

    def __init__(self):
        place.make_folders()
        self.no_networks = network.make()
        self.keys = key_files()
        self.etcd = [etcd(number) for number in NODES]
        self.nodes = [node(number) for number in NODES]
        self.haproxy = Process("haproxy", ["haproxy", "-f", SHIPPED / "haproxy.cfg"], haproxy_settings(), log("haproxy"))
        self.services = [self.service(number) for number in (1, 2)]

    def service(self, number):
        changes = service_settings(number, self.keys)
        data = FOLDER / "data" / f"identityd{number}"
        limits = [
            "--organization-identities-per-day=0",
            "--organization-changes-per-day=0",
            "--agent-changes-per-day=0",
            "--key-idempotency-keys-per-day=0",
        ]
        arguments = [IDENTITYD, "serve", "--data-dir", data, *limits]
        return Process(f"identityd{number}", arguments, changes, log(f"identityd{number}"))

    def start(self):
        for process in [*self.etcd, *self.nodes, self.haproxy]:
            process.start()
        wait_for("three nodes of Postgres", self.nodes_are_whole, 120)
        wait_for("tables", self.is_migrated)
        for service in self.services:
            service.start()
        wait_for("two processes that are ready", self.is_whole, 120)

    def is_migrated(self):
        """Makes the tables as their owner, and gives the role of the two processes what it needs, if HAProxy leads to the primary."""
        owner = settings("owner.env", IDENTITYD_OWNER_URL=database_url("identityd_owner"))
        try:
            return run([IDENTITYD, "migrate"], self.services[0].changes | owner)
        except RuntimeError:
            return None

    def stop(self):
        """Ends everything. The nodes end together, since each takes seconds, and before the etcd that they ask."""
        for node in self.nodes:
            node.signal(signal.SIGCONT)
            node.ask_to_end()
        for process in [*self.services, self.haproxy, *self.nodes, *self.etcd]:
            process.stop()
        if network.is_made():
            network.remove()

    def create_organization(self):
        """The admin key of a new organization."""
        printed = self.command(1, "--json", "org", "create", "acme")
        return json.loads(printed)["api_key"]

    def command(self, number, *arguments):
        """Runs a command on one of the two hosts."""
        data = FOLDER / "data" / f"identityd{number}"
        return run([IDENTITYD, "--data-dir", data, *arguments], self.services[number - 1].changes)

    def members(self):
        """The nodes as the first that answers sees them."""
        return next((seen for seen in (node.cluster() for node in self.nodes) if seen), {})

    def node_with_role(self, role):
        """The first node that has this role, as Patroni names it."""
        members = self.members()
        return next((node for node in self.nodes if members.get(node.name, {}).get("role") == role), None)

    def primary(self):
        return wait_for("a primary", lambda: self.node_with_role("leader"))

    def synchronous_standby(self):
        return wait_for("a synchronous standby", lambda: self.node_with_role("quorum_standby"))

    def nodes_are_whole(self):
        """Whether there is a primary, and two standbys follow it of which each may confirm a commit."""
        found = sorted((member.get("role"), member.get("state")) for member in self.members().values())
        return found == [("leader", "running")] + 2 * [("quorum_standby", "streaming")]

    def is_whole(self):
        ready = all(is_ready(address("identityd", number)) for number in (1, 2))
        return ready and is_ready(address("api")) and self.nodes_are_whole()


def key_files():
    """The two keys that both processes share."""
    def key(name):
        return str(write(name, base64.b64encode(secrets.token_bytes(32)).decode()))
    return {"IDENTITYD_SIGNING_KEY_FILE": key("signing.key"), "IDENTITYD_SECRETS_KEY_FILE": key("secrets.key")}


def log(name):
    return FOLDER / "log" / f"{name}.log"


def entrance(number):
    return network.enter(number) if network.is_made() else None


def etcd(number):
    client, peer = f"http://{address('etcd', number)}", f"http://{address('etcd_peer', number)}"
    peers = ",".join(f"n{other}=http://{address('etcd_peer', other)}" for other in NODES)
    changes = settings(
        "etcd.env", ETCD_NAME=f"n{number}", ETCD_LISTEN_PEER_URLS=peer, ETCD_INITIAL_ADVERTISE_PEER_URLS=peer,
        ETCD_LISTEN_CLIENT_URLS=client, ETCD_ADVERTISE_CLIENT_URLS=client, ETCD_INITIAL_CLUSTER=peers,
        ETCD_DATA_DIR=str(FOLDER / "data" / f"etcd{number}"))
    return Process(f"etcd{number}", ["etcd"], changes, log(f"etcd{number}"), entrance(number))


def node(number):
    postgres, patroni = address("postgres", number), address("patroni", number)
    changes = settings(
        "patroni.env", PATRONI_NAME=f"n{number}", PATRONI_POSTGRESQL_LISTEN=postgres,
        PATRONI_POSTGRESQL_CONNECT_ADDRESS=postgres, PATRONI_RESTAPI_LISTEN=patroni,
        PATRONI_RESTAPI_CONNECT_ADDRESS=patroni,
        PATRONI_ETCD3_HOSTS=",".join(address("etcd", other) for other in NODES),
        PATRONI_POSTGRESQL_DATA_DIR=str(FOLDER / "data" / f"postgres{number}"),
        PATRONI_POSTGRESQL_BIN_DIR=postgres_programs(), PATRONI_POSTGRESQL_PGPASS=str(FOLDER / f"pgpass{number}"),
        PATRONI_SUPERUSER_PASSWORD=PASSWORD, PATRONI_REPLICATION_PASSWORD=PASSWORD, PATRONI_RESTAPI_PASSWORD=PASSWORD,
        IDENTITYD_DATABASE_PASSWORD=PASSWORD, IDENTITYD_OWNER_PASSWORD=PASSWORD)
    return Node(f"n{number}", [PATRONI / "patroni", patroni_file()], changes, log(f"n{number}"), entrance(number))


def patroni_file():
    """The shipped file, with its script where it lies here. A watchdog would restart this machine when a node is frozen."""
    text = (SHIPPED / "patroni.yml").read_text(encoding="utf-8")
    return write("patroni.yml", text.replace("/etc/patroni", str(SHIPPED)).replace("mode: automatic", "mode: 'off'"))


def postgres_programs():
    """The folder of the newest Postgres of Debian's packages."""
    found = sorted(glob("/usr/lib/postgresql/*/bin"), key=lambda folder: float(folder.split("/")[4]))
    if not found:
        raise FileNotFoundError("no Postgres of Debian's packages is installed")
    return found[-1]


def haproxy_settings():
    servers = {f"POSTGRES_{number}": address("postgres", number) for number in NODES}
    checks = {f"PATRONI_PORT_{number}": port("patroni", number) for number in NODES}
    services = {f"IDENTITYD_{number}": address("identityd", number) for number in (1, 2)}
    return settings("haproxy.env", API=address("api"), DATABASE=address("database"), **services, **servers, **checks)


def service_settings(number, keys):
    return settings(
        "identityd.env", DATABASE_URL=database_url("identityd"), IDENTITYD_LISTEN=address("identityd", number),
        IDENTITYD_TRUSTED_PROXIES="127.0.0.1/32",
        IDENTITYD_SIGNER_ETCD=",".join(f"http://{address('etcd', other)}" for other in NODES), **keys)


def database_url(role):
    return f"postgres://{role}:{PASSWORD}@{address('database')}/identityd?sslmode=disable"


def is_ready(listens_at):
    try:
        with urllib.request.urlopen(f"http://{listens_at}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
