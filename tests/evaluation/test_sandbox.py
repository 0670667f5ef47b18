"""What a function from outside can do in its process: answer, and nothing else.

The limits are tried with the check taken away.
"""

import json
import subprocess
import sys

import pytest

from stock_llm.evaluation import sandbox

UNCHECKED = """
import json, runpy, sys
space = runpy.run_path({path!r}, run_name="not main")
main = space["_main"]
main.__globals__["_compiled"] = lambda source, name, arguments: eval(source)
main()
"""


def unchecked(expression):
    """What `expression`, a function of `x`, comes to inside the limits alone."""
    task = json.dumps({"source": expression, "name": "f", "arguments": ["x"], "cases": [{"x": 1}]})
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", UNCHECKED.format(path=sandbox.__file__)],
        input=task, capture_output=True, text=True, timeout=60, check=False, env={},
    )  # fmt: skip


def test_a_function_is_run_on_every_case():
    source = 'def f(x, y):\n    return "more" if x > y else "less"'
    assert sandbox.run(source, "f", ("x", "y"), [{"x": 2, "y": 1}, {"x": 1, "y": 2}]) == [
        "more",
        "less",
    ]


def test_a_failing_case_is_no_answer():
    assert sandbox.run("def f(x):\n    return 1 / x", "f", ("x",), [{"x": 0}, {"x": 1}]) == [
        None,
        None,
    ]
    assert sandbox.run(
        'def f(x):\n    return "a" if x < "b" else "c"', "f", ("x",), [{"x": 0}]
    ) == [None]


@pytest.mark.parametrize(
    "source",
    [
        "",
        "f = 1",
        "def g(x):\n    return x",
        "def f(x):\n    return y",
        "def f(x):\n  return\0",
        "\ud800",
    ],
)
def test_what_is_not_the_function_is_refused(source):
    assert sandbox.run(source, "f", ("x",), [{"x": 1}]) is None


def test_the_limits_hold_without_the_check():
    assert json.loads(unchecked("lambda x: 'fine'").stdout) == ["fine"]
    assert "Too many open files" in unchecked("lambda x: open('/etc/passwd')").stderr
    assert (
        "Too many open files" in unchecked("lambda x: sys.modules['subprocess'].os.pipe()").stderr
    )
    assert "MemoryError" in unchecked("lambda x: 'x' * (1 << 30)").stderr
    assert unchecked("lambda x: [0 for _ in iter(int, 1)]").returncode != 0


def test_no_socket_can_be_opened():
    assert (
        "Too many open files"
        in unchecked("(lambda _socket: lambda x: _socket.socket())(__import__('_socket'))").stderr
    )
