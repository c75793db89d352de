"""HTTP over one connection that is kept, as a careful client has it."""

import http.client
import json

# Longer than the service and the balancer wait.
TIMEOUT = 40


class Client:
    """One connection to the API, behind the balancer."""

    def __init__(self, address, key):
        self.connection = http.client.HTTPConnection(address, timeout=TIMEOUT)
        self.key = key

    def send(self, method, path, body=None, headers=None):
        """The status and the body; the status is 0 if the connection broke. Nothing is sent a second time."""
        headers = {"X-API-Key": self.key} | (headers or {})
        if body is not None:
            body = json.dumps(body)
            headers["Content-Type"] = "application/json"
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            return 0, repr(error).encode()

    def stream(self, path, headers):
        """An answer that is read piece by piece."""
        self.connection.request("GET", path, headers={"X-API-Key": self.key} | headers)
        return self.connection.getresponse()

    def close(self):
        self.connection.close()
