"""The served page: on this machine alone, and the newest."""

import http.client
import threading

import pytest

from crnn_jax.errors import UserError
from crnn_jax.report.serve import PageServer


@pytest.fixture
def served():
    state = {"version": 1.0, "made": 0}

    def make():
        state["made"] += 1
        if state["version"] < 0:
            raise UserError("a file is damaged")
        return f"page {state['version']}".encode()

    with PageServer(0, make, lambda: state["version"]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server, state
        server.shutdown()


def get(server, path="/", host=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    headers = {} if host is None else {"Host": host}
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_page_is_made_when_something_changed(served):
    server, state = served
    assert get(server) == (200, "page 1.0")
    assert get(server) == (200, "page 1.0")
    assert state["made"] == 1
    assert get(server, "/version") == (200, "1.000000")
    state["version"] = 2.0
    assert get(server, "/version") == (200, "2.000000")
    assert get(server) == (200, "page 2.0")


def test_it_is_reached_on_this_machine_under_its_own_name_alone(served):
    server, _ = served
    assert server.server_address[0] == "127.0.0.1"
    port = server.server_address[1]
    assert get(server, host=f"localhost:{port}")[0] == 200
    assert get(server, host=f"evil.example:{port}")[0] == 403
    assert get(server, "/../../etc/passwd")[0] == 404


def test_a_damaged_file_is_an_answer_and_not_the_end(served):
    server, state = served
    state["version"] = -1.0
    assert get(server) == (503, "a file is damaged\n")
    state["version"] = 3.0
    assert get(server) == (200, "page 3.0")


def test_a_taken_port_is_one_line(served):
    server, _ = served
    with pytest.raises(UserError, match="--port expects a free port"):
        PageServer(server.server_address[1], lambda: b"", lambda: 0.0)
