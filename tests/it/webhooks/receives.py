"""What a published Python client does with a webhook that arrived: it verifies it, lists deliveries, and has one sent again.

Arguments: the address of the service, the key of an agent, its signing key, a file with the body that arrived and one with the
headers.
"""

import json
import sys
import time
from pathlib import Path

from inkbox import Inkbox
from inkbox.signing_keys import verify_webhook

base_url, key, secret, payload, headers = sys.argv[1:6]
body, headers = Path(payload).read_bytes(), json.loads(Path(headers).read_text())
assert verify_webhook(payload=body, headers=headers, secret=secret)
assert not verify_webhook(payload=body + b" ", headers=headers, secret=secret)

client = Inkbox(api_key=key, base_url=base_url)
event = json.loads(body)
given_up = time.monotonic() + 60
while not (listed := client.webhooks.deliveries.list(success=True, limit=1)):
    assert time.monotonic() < given_up
[delivery] = listed
assert delivery.event_id == event["id"] and delivery.request_payload == body.decode(), delivery
assert (delivery.response_status, delivery.is_replay) == (200, False), delivery
again = client.webhooks.deliveries.replay(delivery.id)
assert (again.event_id, again.is_replay) == (event["id"], True) and again.id != delivery.id, again
assert [one.id for one in client.webhooks.deliveries.list(event_type="identity.updated")] == [again.id, delivery.id]
print("done")
