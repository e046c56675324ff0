"""Sends a daemon what schemathesis makes from the API's description, over its Unix socket, and checks the answers."""

import http.client
import io
import json
import socket
import sys
import time

import requests
import schemathesis
import urllib3
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from requests.adapters import BaseAdapter, HTTPAdapter
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

# The stream does not end, and what changes the policy is refused too seldom by chance alone.
LEFT_OUT = {"/v1/events"}
# Of a daemon without a data plane these are right answers too.
AWAY = {503}


class OverUnix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("fermata", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


class Adapter(BaseAdapter):
    """Carries requests over a Unix socket, no faster than the daemon's limit."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def send(self, request, **_):
        time.sleep(0.021)
        connection = OverUnix(self.path)
        connection.request(request.method, request.path_url, request.body, dict(request.headers))
        answer = connection.getresponse()
        body = answer.read()
        raw = urllib3.HTTPResponse(
            io.BytesIO(body), answer.getheaders(), answer.status, preload_content=False
        )
        response = HTTPAdapter().build_response(request, raw)
        response._content = body
        connection.close()
        return response

    def close(self):
        pass


def check_operation(operation, mode, session, examples):
    sent = 0

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )
    def check(case):
        nonlocal sent
        response = case.call(base_url="http://fermata", session=session)
        sent += 1
        if response.status_code in AWAY:
            assert "error" in response.json()
            return
        assert response.status_code < 500, f"{response.status_code}: {response.text}"
        # That a text is a policy is more than a schema of JSON can say.
        case.validate_response(response, excluded_checks=[positive_data_acceptance])

    check()
    return sent


def main(description, path, examples):
    session = requests.Session()
    session.mount("http://", Adapter(path))
    schema = schemathesis.openapi.from_dict(json.load(open(description)))
    operations = 0
    sent = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in LEFT_OUT:
            continue
        operations += 1
        for mode in GenerationMode:
            try:
                sent += check_operation(operation, mode, session, int(examples))
            except Unsatisfiable:
                # Without a parameter or a body nothing can be wrong.
                assert mode == GenerationMode.NEGATIVE, operation.path
    print(f"API: {operations} operations, {sent} requests, all answers as described")


if __name__ == "__main__":
    main(*sys.argv[1:])
