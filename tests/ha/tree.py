"""The roots of a history, as docs/proof.md defines them: computed here, and not by the service that signed them."""

import base64
import hashlib


def size_and_root(note):
    """What a checkpoint says."""
    lines = note.read_text(encoding="utf-8").splitlines()
    return int(lines[1]), lines[2]


def roots(leaves, sizes):
    """The root over the first leaves, for each of these numbers of leaves that there are."""
    found = {}
    # The roots of complete subtrees, each with the number of its leaves, the largest first.
    subtrees = []
    for size, leaf in enumerate(leaves, 1):
        add(subtrees, base64.b64decode(leaf))
        if size in sizes:
            found[size] = base64.b64encode(joined(subtrees)).decode()
    return found


def add(subtrees, leaf):
    """Two subtrees of one size become one."""
    count, node = 1, leaf
    while subtrees and subtrees[-1][0] == count:
        node = parent(subtrees.pop()[1], node)
        count *= 2
    subtrees.append((count, node))


def joined(subtrees):
    """The root over all of them, from the smallest on."""
    node = subtrees[-1][1]
    for _, left in reversed(subtrees[:-1]):
        node = parent(left, node)
    return node


def parent(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()
