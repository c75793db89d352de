"""A first session with the client that openapi-python-client generates: create, list, get, an error."""

import sys

from agent_identity_api_client import AuthenticatedClient
from agent_identity_api_client.api.identities import create_identity, get_identity, list_identities
from agent_identity_api_client.models import CreateIdentity, Error, Identity

base, key = sys.argv[1:]
client = AuthenticatedClient(base_url=base, token=key, prefix="", auth_header_name="X-API-Key")

created = create_identity.sync(client=client, body=CreateIdentity(agent_handle="@Python-Desk"))
assert isinstance(created, Identity), created
assert created.agent_handle == "python-desk", created
assert created.mailbox.email_address.startswith("python-desk@"), created

listed = list_identities.sync(client=client)
assert isinstance(listed, list), listed
assert created.id in [identity.id for identity in listed], listed

found = get_identity.sync("python-desk", client=client)
assert isinstance(found, Identity), found
assert found.to_dict() == created.to_dict(), found

missing = get_identity.sync("nobody-here", client=client)
assert isinstance(missing, Error), missing
assert missing.code == "identity_not_found", missing
