"""A session that a published Python client has with the service, whatever its release.

It makes every call that the release has for a route of the service, with every argument that the release knows. After each call
it reads the effect back, or the call has raised. Arguments: the address of the service, the key of an admin, the release.
"""

import inspect
import sys
import uuid

import inkbox
from inkbox import Inkbox
from inkbox.exceptions import DedicatedIMessageNumberInventoryPendingError, InkboxAPIError
from inkbox.identities.types import IdentityPhoneNumberCreateOptions, IdentityTunnelCreateOptions

base_url, admin_key, release = sys.argv[1:4]
admin = Inkbox(api_key=admin_key, base_url=base_url)
steps = 0


def step():
    global steps
    steps += 1


def knows(call, argument):
    return argument in inspect.signature(call).parameters


def is_shown(thing, attribute, expected):
    found = thing
    for name in attribute.split("."):
        found = getattr(found, name)
    assert found == expected, f"{attribute} is {found!r} and not {expected!r}"
    step()


def raises(error, call, status=None):
    try:
        call()
    except error as raised:
        assert status is None or raised.status_code == status, f"{raised} is not {status}"
        return step()
    raise AssertionError(f"nothing was raised where {error.__name__} was expected")


def handle():
    return f"py-{uuid.uuid4().hex[:12]}"


PENDING = DedicatedIMessageNumberInventoryPendingError
NUMBER = "+12125550199"
ADDRESS = "sip:desk@voice.example.com"

# Creating: arguments, and what the identity shows, or what is raised.
CREATES = [
    ({"display_name": "Desk"}, {"display_name": "Desk"}),
    ({"description": ""}, {"description": ""}),
    ({"imessage_enabled": True}, {"imessage_enabled": True}),
    ({"contact_sharing_enabled": False}, {"contact_sharing_enabled": False}),
    ({"tunnel": IdentityTunnelCreateOptions(tls_mode="passthrough")}, {"tunnel.tls_mode": "passthrough"}),
    ({"vault_secret_ids": "*"}, {}),
    ({"imessage_enabled": True, "imessage_number_type": "dedicated_outbound"}, PENDING),
    ({"imessage_enabled": True, "claim_imessage_number": True}, PENDING),
]
for arguments, expected in CREATES:
    if not all(knows(admin.create_identity, argument) for argument in arguments):
        continue
    name = handle()
    if expected is PENDING:
        raises(PENDING, lambda: admin.create_identity(name, **arguments))
        raises(InkboxAPIError, lambda: admin.get_identity(name), 404)
        continue
    admin.create_identity(name, **arguments)
    step()
    for attribute, value in expected.items():
        is_shown(admin.get_identity(name), attribute, value)

NUMBERS = [
    {"state": "NY"},
    {"incoming_call_action": "auto_accept", "client_websocket_url": "wss://desk.example/calls"},
    {"incoming_call_action": "webhook", "incoming_call_webhook_url": "https://desk.example/calls"},
    {"incoming_call_action": "forward", "forwarding_target_type": "phone", "forwarding_phone_number": NUMBER},
    {"forwarding_target_type": "sip", "forwarding_sip_uri": ADDRESS},
]
for options in NUMBERS:
    if all(knows(IdentityPhoneNumberCreateOptions, option) for option in options):
        name = handle()
        admin.create_identity(name, phone_number=IdentityPhoneNumberCreateOptions(**options))
        for option, value in options.items():
            is_shown(admin.get_identity(name).phone_number, option, value)

# One identity with everything, and its own key.
name = handle()
identity = admin.create_identity(name, imessage_enabled=True)
identity.provision_phone_number(state="NY")
number = admin.get_identity(name).phone_number
is_shown(number, "state", "NY")
created = admin.api_keys.create(label="desk", description="at night", scoped_identity_id=identity.id)
is_shown(created.record, "description", "at night")
agent = Inkbox(api_key=created.api_key, base_url=base_url)
is_shown(agent.get_identity(name), "id", identity.id)


def fresh():
    return admin.get_identity(name)


# Changing: arguments, what the identity shows or what is raised, and whether the identity's own key may.
W, B = "whitelist", "blacklist"
UPDATES = [
    ({"display_name": "Desk"}, {"display_name": "Desk"}, True),
    ({"display_name": None}, {"display_name": None}, True),
    ({"description": "answers"}, {"description": "answers"}, True),
    ({"imessage_enabled": False}, {"imessage_enabled": False}, True),
    ({"imessage_enabled": True}, {"imessage_enabled": True}, True),
    ({"contact_sharing_enabled": False}, {"contact_sharing_enabled": False}, True),
    ({"imessage_filter_mode": W}, {"imessage_filter_mode": W, "phone_filter_mode": B}, False),
    ({"phone_filter_mode": W}, {"phone_filter_mode": W, "imessage_filter_mode": W}, False),
    ({"imessage_filter_mode": B}, {"imessage_filter_mode": B, "phone_filter_mode": W}, False),
    ({"mail_filter_mode": W}, {"mail_filter_mode": W, "mailbox.filter_mode": W}, False),
    ({"mail_inbound_filter_mode": B}, {"mail_inbound_filter_mode": B, "mail_outbound_filter_mode": W}, False),
    ({"mail_outbound_filter_mode": B}, {"mail_outbound_filter_mode": B, "mail_filter_mode": B}, False),
    ({"phone_outbound_filter_mode": B}, {"phone_outbound_filter_mode": B, "phone_inbound_filter_mode": W}, False),
    ({"phone_inbound_filter_mode": B}, {"phone_inbound_filter_mode": B, "imessage_filter_mode": B}, False),
    ({"slack_filter_mode": W}, 422, False),
    ({"slack_inbound_filter_mode": W}, 422, False),
    ({"slack_outbound_filter_mode": W}, 422, False),
    ({"imessage_number_id": str(uuid.uuid4())}, 404, False),
    ({"imessage_number_type": "dedicated_outbound", "idempotency_key": "claim-1"}, 503, False),
    ({"claim_imessage_number": True, "idempotency_key": "claim-2"}, 503, False),
]
own = agent.get_identity(name)
for arguments, expected, is_for_agents in UPDATES:
    if not all(knows(identity.update, argument) for argument in arguments):
        continue
    if not is_for_agents:
        raises(InkboxAPIError, lambda: own.update(**arguments), 403)
    if isinstance(expected, int):
        raises(InkboxAPIError, lambda: fresh().update(**arguments), expected)
        continue
    (own if is_for_agents else fresh()).update(**arguments)
    for attribute, value in expected.items():
        is_shown(fresh(), attribute, value)

# Phone number.
PHONE = [
    {"incoming_call_action": "webhook", "incoming_call_webhook_url": "https://desk.example/calls"},
    {"client_websocket_url": "wss://desk.example/calls"},
    {"client_websocket_url": None},
    {"filter_mode": W},
    {"filter_mode": B},
    {"incoming_call_action": "forward", "forwarding_target_type": "sip", "forwarding_sip_uri": ADDRESS},
    {"forwarding_target_type": "phone", "forwarding_phone_number": NUMBER, "forwarding_sip_uri": None},
    {"incoming_call_action": "auto_reject", "forwarding_target_type": None},
]
for arguments in PHONE:
    if all(knows(admin.phone_numbers.update, argument) for argument in arguments):
        admin.phone_numbers.update(number.id, **arguments)
        for attribute, value in arguments.items():
            is_shown(admin.phone_numbers.get(number.id), attribute, value)
if knows(admin.phone_numbers.update, "forwarding_target_type"):
    half = {"incoming_call_action": "forward", "forwarding_target_type": "phone"}
    raises(InkboxAPIError, lambda: admin.phone_numbers.update(number.id, **half), 422)

calls = agent.incoming_call_action
calls.set(incoming_call_action="hosted_agent")
is_shown(calls.get(), "incoming_call_action", "hosted_agent")
is_shown(admin.incoming_call_action.get(agent_identity_id=identity.id), "incoming_call_action", "hosted_agent")
raises(InkboxAPIError, admin.incoming_call_action.get, 422)
if knows(calls.set, "forwarding_target_type"):
    calls.set(incoming_call_action="forward", forwarding_target_type="sip", forwarding_sip_uri=ADDRESS)
    is_shown(admin.phone_numbers.get(number.id), "forwarding_sip_uri", ADDRESS)
    calls.set(incoming_call_action="auto_reject", forwarding_target_type=None)
    is_shown(admin.phone_numbers.get(number.id), "forwarding_sip_uri", None)

# Mailbox.
address = identity.email_address
MAILBOX = [
    ({"filter_mode": W}, {"filter_mode": W}),
    ({"signature_html": "<b>Desk</b>"}, {"signature_html": "<b>Desk</b>", "signature_text": "Desk"}),
    ({"signature_text": "Night desk"}, {"signature_html": "<b>Desk</b>", "signature_text": "Night desk"}),
    ({"signature_enabled": True}, {"signature_enabled": True}),
    ({"signature_html": None, "signature_text": None}, {"signature_html": None, "signature_text": None}),
]
for arguments, expected in MAILBOX:
    if all(knows(admin.mailboxes.update, argument) for argument in arguments):
        raises(InkboxAPIError, lambda: agent.mailboxes.update(address, **arguments), 403)
        admin.mailboxes.update(address, **arguments)
        for attribute, value in expected.items():
            is_shown(admin.mailboxes.get(address), attribute, value)

# Tunnel, key, the agent itself.
admin.tunnels.update(identity.tunnel.id, metadata={"a": 1})
is_shown(admin.tunnels.get(identity.tunnel.id), "metadata", {"a": 1})
raises(InkboxAPIError, lambda: agent.api_keys.create(label="desk", scoped_identity_id=identity.id), 403)
is_shown(agent.whoami(), "auth_subtype", "api_key.agent_scoped.claimed")
agent.get_identity(name).a2a_client()
step()

# Visibility, which clients since 0.5.13 do not know.
peer = admin.create_identity(handle())
if hasattr(peer, "grant_access"):
    raises(InkboxAPIError, lambda: agent.get_identity(peer.agent_handle), 404)
    peer.grant_access(identity.id)
    is_shown(agent.get_identity(peer.agent_handle), "id", peer.id)
    assert [row.viewer_identity_id for row in peer.list_access()] == [identity.id]
    peer.revoke_access(identity.id)
    raises(InkboxAPIError, lambda: agent.get_identity(peer.agent_handle), 404)

if knows(identity.update, "new_handle"):
    fresh().update(new_handle=f"{name}-2")
    name = f"{name}-2"
    is_shown(fresh(), "agent_handle", name)

fresh().release_phone_number()
is_shown(fresh(), "phone_number", None)
assert name in [listed.agent_handle for listed in admin.list_identities()]
fresh().delete()
raises(InkboxAPIError, fresh, 404)
raises(InkboxAPIError, agent.whoami, 401)
print(f"inkbox {release} ({inkbox.__name__}): {steps} steps")
