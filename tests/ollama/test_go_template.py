"""Go templates: what is known is rendered as Go does it, what is not known is refused."""

import json
import random
import subprocess

import pytest
from factories import go_program

from stock_llm.llm.prompt_formats import FORMATS
from stock_llm.ollama.go_template import TemplateError, execute, parse

DATA = {
    "System": "",
    "Name": "ก ai",
    "Count": 3,
    "Yes": True,
    "Messages": [
        {"Role": "user", "Content": "one"},
        {"Role": "assistant", "Content": ""},
        {"Role": "user", "Content": "<&>"},
    ],
}

TEMPLATES = [
    *(prompt_format.go for prompt_format in FORMATS.values()),
    "plain",
    " a {{- .Name -}} b ",
    "a\n\t{{- 3 }}{{-4}} {{ -5 }}",
    "{{/* gone */}}x {{- /* gone too */ -}} y",
    '{{ .Count }} {{ .Yes }} {{ true }} {{ `raw \\n` }} {{ "es\\tc \\" \\u0e01" }}',
    "{{ if .System }}s{{ else if eq .Count 3 4 }}three{{ else }}none{{ end }}",
    "{{if(.Yes)}}yes{{end}}",
    "{{ range .Messages }}[{{ .Role }}|{{ .Content }}]{{ end }}",
    "{{ range $m := .Messages }}{{ $m.Role }}{{ $.Count }}{{ end }}",
    "{{ range $i, $_ := .Messages }}{{ if lt $i (len (slice $.Messages 1)) }}{{ $i }},{{ else }}{{ $i }}{{ end }}{{ end }}",
    "{{ range $i, $m := .Messages }}{{ range $.Messages }}{{ $i }}{{ .Role }}{{ $m.Content }}{{ end }}{{ end }}",
    "{{ range slice .Messages 3 }}x{{ else }}nothing{{ end }}",
    "{{ range slice .Messages 1 2 }}{{ .Role }}{{ end }}{{ slice .Name 3 }}{{ len .Name }}",
    "{{ and .Count .System .Yes }}|{{ or .System 0 .Name }}|{{ or .System 0 }}|{{ not .System }}|{{ and true (not .Yes) }}",
    "{{ or .Yes (slice .Name 99) }}{{ and .System (slice .Name 99) }}",
    '{{ eq "a" "a" }} {{ eq .Count 4 }} {{ ne .Name "x" }} {{ le 1 1 }}',
    '{{ gt 1 2 }} {{ ge "b" "a" }} {{ lt "a" "ก" }} {{ eq true .Yes }}',
    '{{ "}} in a string" }}{ } }} {{ .Count }}',
    "{{ slice .Name 99 }}",
    "{{ slice .Name 2 1 }}",
    "{{ eq .Name 3 }}",
    "{{ lt true false }}",
    "{{ len .Count }}",
    "{{ eq .Messages .Messages }}",
    "{{ range .Name }}{{ end }}",
    "{{ .Name.Length }}",
    "{{ .Prompt ",
    "{{ end }}",
    "{{ else }}",
    "{{ if }}{{ end }}",
    "{{ if .Yes }}",
    "{{ if .Yes }}{{ else }}{{ else }}{{ end }}",
    "{{ if .Yes }}{{ else }}{{ else if .Yes }}{{ end }}",
    "{{ range .Messages }}{{ else if .Yes }}{{ end }}",
    "{{ }}",
    "{{ $nowhere }}",
    "{{ range $i, $m := .Messages }}{{ end }}{{ $i }}",
    "{{ eq 1 }}",
    "{{ not 1 2 }}",
    "{{ (len .Name }}",
    "{{ len .Name) }}",
    '{{ "unclosed }}',
    "{{ .Name .Count }}",
    "{{ lenient .Name }}",
]

UNKNOWN = [
    "{{ .Name | len }}",
    "{{ with .Name }}{{ . }}{{ end }}",
    "{{ $x := 1 }}{{ $x }}",
    '{{ printf "%d" 3 }}',
    "{{ 1.5 }}",
    "{{ 'a' }}",
    "{{ (index .Messages 0).Role }}",
    "{{ .Messages }}",
    "{{ .Absent }}",
    "{{ range $i, $_ := .Messages }}{{ break }}{{ end }}",
    '{{ "\\x41" }}',
    '{{ define "x" }}{{ end }}',
]
"""Go knows these; here they are refused. (For an absent key Ollama's setting writes `<no value>`, which nobody means.)"""


def rendered(template: str) -> str | None:
    try:
        return execute(parse(template), DATA)
    except TemplateError:
        return None


@pytest.mark.parametrize("template", UNKNOWN)
def test_what_is_not_known_is_refused(template):
    assert rendered(template) is None


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a\n{{ .Prompt ", "template, line 2: unclosed action"),
        ("{{ if .Yes }}\n{{ with .Name }}", "template, line 2: not known here: 'with'"),
        ("\n\n{{ .Name | len }}", "template, line 3: not known here: '| len'"),
        ("{{ .Absent }}", "template, line 1: can't evaluate field Absent"),
        ("{{ len .Count }}", "template, line 1: len does not take int"),
        ("{{ range .Messages }}", "template, line 1: {{ range }} without {{ end }}"),
        ("{{ end }}", "template, line 1: unexpected {{ end }}"),
    ],
)
def test_errors_name_the_line(template, message):
    with pytest.raises(TemplateError) as error:
        execute(parse(template), DATA)
    assert str(error.value) == message


GO = r"""
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

func render(text string) (out *string) {
	parsed, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil
	}
	var b strings.Builder
	if err := parsed.Execute(&b, map[string]any{
		"System": "", "Name": "ก ai", "Count": 3, "Yes": true,
		"Messages": []*message{{"user", "one"}, {"assistant", ""}, {"user", "<&>"}},
	}); err != nil {
		return nil
	}
	s := b.String()
	return &s
}

func main() {
	var in []string
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		panic(err)
	}
	out := []*string{}
	for _, text := range in {
		out = append(out, render(text))
	}
	json.NewEncoder(os.Stdout).Encode(out)
}
"""


@pytest.fixture(scope="session")
def real_go(tmp_path_factory):
    """A function from templates to what Go's text/template makes of them over DATA; None where Go refuses."""
    program = go_program.build(GO, tmp_path_factory.mktemp("go"))

    def render(templates: list[str]) -> list[str | None]:
        done = subprocess.run(
            [program],
            input=json.dumps(templates).encode(),
            capture_output=True,
            check=True,
        )
        return json.loads(done.stdout)

    return render


def test_equals_real_go(real_go):
    for template, expected in zip(TEMPLATES, real_go(TEMPLATES), strict=True):
        assert rendered(template) == expected, template


def drawn(draw: random.Random, depth: int = 0) -> str:
    """A template, most often a valid one."""
    fields = [
        ".Name",
        ".Count",
        ".Yes",
        "$.Count",
        "$.System",
        ".Role",
        ".Content",
        "$m.Role",
        "$i",
        ".",
        '"a"',
        "0",
        "true",
    ]
    value = draw.choice(fields)
    if draw.random() < 0.4:
        name = draw.choice(["len", "not", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "slice"])
        operands = [*fields, "$.Messages", "(slice $.Messages 1)", "(len $.Name)", "3"]
        if name == "slice":  # Go of some versions takes no index out of a map
            operands = ["$.Name", "$.Messages", "$i", '"a"', "0", "1", "3"]
        arguments = draw.choices(operands, k=draw.randint(1, 3))
        value = f"{name} {' '.join(arguments)}"
    inner = "".join(drawn(draw, depth + 1) for _ in range(draw.randint(0, 3))) if depth < 3 else "x"
    opened, closed = draw.choice(["{{ ", "{{- ", "{{"]), draw.choice([" }}", " -}}", "}}"])
    loop = draw.choice(
        [
            "range $i, $m := $.Messages",
            "range $m := .Messages",
            "range $.Messages",
            "range slice $.Messages 3",
        ]
    )
    return draw.choice(
        [
            " text\n",
            f"{opened}{value}{closed}",
            f"{opened}if {value}{closed}{inner}{opened}else{closed}{inner}{opened}end{closed}",
            f"{opened}if {value}{closed}{inner}{opened}else if .Yes{closed}{inner}{opened}end{closed}",
            f"{opened}{loop}{closed}{inner}{opened}end{closed}",
            f"{opened}{loop}{closed}{inner}{{{{ else }}}}{inner}{opened}end{closed}",
        ]
    )


def test_random_templates_equal_real_go(real_go):
    draw = random.Random(7)
    templates = [drawn(draw) for _ in range(10_000)]
    expected = real_go(templates)
    renderings = [rendered(template) for template in templates]
    assert [
        pair
        for pair in zip(templates, expected, renderings, strict=True)
        if pair[2] not in (pair[1], None)
    ] == []
    refused = sum(
        rendering is None and go_rendering is not None
        for rendering, go_rendering in zip(renderings, expected, strict=True)
    )
    assert refused < 0.1 * sum(
        rendering is not None for rendering in renderings
    )  # what Go writes of records, and errors that it never reaches
