"""Webhook subscriptions as the published client uses them. Arguments: base URL, keys of an admin and of the agents alpha and bravo."""

import inspect
import sys
import uuid

from inkbox import Inkbox
from inkbox.exceptions import InkboxAPIError

URL = "https://harbor.example/events"
base, admin_key, alpha_key, bravo_key = sys.argv[1:]
admin, alpha, bravo = [Inkbox(api_key=key, base_url=base) for key in (admin_key, alpha_key, bravo_key)]


def fails(status, call):
    try:
        call()
    except InkboxAPIError as error:
        assert error.status_code == status, error
        return
    raise AssertionError(f"the call succeeds, and should be {status}")


admin.get_identity("alpha").provision_phone_number(state="NY")
identity = admin.get_identity("alpha")
owners = [
    ("mailbox_id", identity.mailbox.id, ["message.received", "message.sent"]),
    ("phone_number_id", identity.phone_number.id, ["text.received"]),
    ("agent_identity_id", identity.id, ["imessage.received"]),
    ("agent_identity_id", identity.id, ["call.ended"]),
]
made = []
context = {"email": {"mode": "count", "count": 3}, "calls": {"mode": "window", "hours": 24}}
for owner, owner_id, types in owners:
    created = alpha.webhooks.subscriptions.create(
        url=URL, event_types=types, context_config=context, **{owner: owner_id}
    )
    assert getattr(created, owner) == owner_id, created
    assert created.owner_identity_id == identity.id and created.status == "active", created
    assert created.event_types == types and created.context_config == {**context, "texts": None}, created
    assert (created.signing_key is not None) == (not made), created
    made.append(created)
subscriptions = alpha.webhooks.subscriptions

assert [found.id for found in subscriptions.list()] == [created.id for created in reversed(made)]
assert [found.id for found in admin.webhooks.subscriptions.list(mailbox_id=identity.mailbox.id)] == [made[0].id]
assert [found.id for found in subscriptions.list(event_type="call.ended", url=URL)] == [made[3].id]
assert subscriptions.get(made[1].id).phone_number_id == identity.phone_number.id

changed = subscriptions.update(made[0].id, url=f"{URL}/other", event_types=["message.failed"], context_config=None)
assert (changed.url, changed.event_types, changed.context_config) == (f"{URL}/other", ["message.failed"], None)
assert subscriptions.update(made[0].id).updated_at == changed.updated_at

fails(404, lambda: bravo.webhooks.subscriptions.get(made[0].id))
fails(404, lambda: bravo.webhooks.subscriptions.create(url=URL, event_types=["call.ended"], agent_identity_id=identity.id))
fails(422, lambda: subscriptions.update(made[0].id, url="https://127.0.0.1/"))
fails(404, lambda: subscriptions.get(uuid.uuid4()))

if "scope" in inspect.signature(subscriptions.list).parameters:
    mixed = subscriptions.create(
        url=URL,
        event_types=["message.received", "text.received", "slack.dm_received"],
        agent_identity_id=identity.id,
        auth_token="letmein",
    )
    assert mixed.has_auth_token and mixed.auth_token is None, mixed
    assert len(subscriptions.list(agent_identity_id=identity.id, scope="identity")) == 5
    assert subscriptions.update(mixed.id, auth_token=None, scope="identity").has_auth_token is False
    subscriptions.delete(mixed.id, scope="identity")

for created in made:
    subscriptions.delete(created.id)
    fails(404, lambda: subscriptions.get(created.id))
assert subscriptions.list() == []
