"""The Modelfile: what is written is read back, in Ollama's grammar, and what Ollama would choke on is refused."""

import json

import pytest
from conftest import RECORDED
from hypothesis import given
from hypothesis import strategies as st

from stock_llm.errors import InputError
from stock_llm.llm import prompts
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.ollama.modelfile import PARAMETERS, Modelfile, parse_modelfile

WHOLE = Modelfile(
    from_="./stock-llm.gguf",
    template=MISTRAL_V3.go,
    system=prompts.SYSTEM,
    parameters={"num_ctx": 1024, "stop": MISTRAL_V3.stop, "temperature": 0.0, "use_mmap": True},
    license=("Apache-2.0", "และอีกฉบับ\nหนึ่ง"),
    messages=(("user", "Analyze AAPL"), ("assistant", "SELL\nbecause")),
    requires="0.14.0",
)


def test_what_is_written_is_read_back():
    assert parse_modelfile(WHOLE.write()) == WHOLE


def test_the_text_is_what_a_person_expects():
    small = Modelfile(
        "a.gguf",
        template="[INST] {{ .Prompt }}",
        parameters={"num_ctx": 512, "stop": ("[INST]", "</s>")},
    )
    assert small.write() == (
        'FROM a.gguf\nPARAMETER num_ctx 512\nPARAMETER stop [INST]\nPARAMETER stop </s>\nTEMPLATE """[INST] {{ .Prompt }}"""\n'
    )


def test_the_grammar_of_ollama():
    read = parse_modelfile(
        "\ufeff# a comment\r\n\r\nfrom   base:latest  \r\n"
        'parameter temperature 1e-1\nParameter stop "[INST] "\nPARAMETER stop """a "quoted" stop"""\n'
        '  SYSTEM """\nTwo\n\tlines, "quoted"\n"""\nsystem "the last\nwins"\n#SYSTEM no\nREQUIRES 0.20.0\n'
        'MESSAGE user hi there\nMESSAGE assistant "hello"\nLICENSE MIT # not a comment\n'
        "PARAMETER num_ctx 1\nPARAMETER num_ctx 2\nPARAMETER use_mmap T\nTEMPLATE a\u00a0b"
    )
    assert read == Modelfile(
        from_="base:latest",
        system="the last\nwins",
        template="ab",  # Ollama keeps printable characters only
        parameters={
            "temperature": 0.1,
            "stop": ("[INST] ", 'a "quoted" stop'),
            "num_ctx": 2,
            "use_mmap": True,
        },
        requires="0.20.0",
        messages=(("user", "hi there"), ("assistant", "hello")),
        license=("MIT # not a comment",),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SYSTEM x", "no FROM line"),
        ("FROM a\nFROM b", "row 2: a second FROM"),
        (
            "FROM a\n\nDRAFT small.gguf",
            "row 3: not an instruction that is understood here: 'DRAFT small.gguf'",
        ),
        ("FROM a\nnonsense", "row 2: not an instruction"),
        (
            'FROM a\nSYSTEM """open\nto the end',
            "row 2: quotes that are opened here are never closed",
        ),
        ('FROM a\nSYSTEM "', "row 2: quotes"),
        ("FROM a\nPARAMETER nonsense 1", "row 2: Ollama has no parameter 'nonsense'"),
        ("FROM a\nPARAMETER mirostat 1", "no parameter 'mirostat'"),
        (
            "FROM a\nPARAMETER temperature hot",
            "row 2: parameter temperature is 'hot', not a number",
        ),
        ("FROM a\nPARAMETER temperature nan", "parameter temperature is nan, not a number"),
        ("FROM a\nPARAMETER num_ctx 1.5", "parameter num_ctx is 1.5, not a whole number"),
        ("FROM a\nPARAMETER use_mmap maybe", "not true or false"),
        ("FROM a\nPARAMETER num_ctx", "PARAMETER needs a name and a value"),
        ("FROM a\nMESSAGE tool x", "message role 'tool' is not one of system, user, assistant"),
        ("FROM a\nREQUIRES soon", "REQUIRES 'soon' is not a version"),
    ],
)
def test_an_invalid_line_is_refused_by_number(text, message):
    with pytest.raises(InputError) as error:
        parse_modelfile(text, "models/Modelfile")
    assert message in str(error.value)
    assert str(error.value).startswith("models/Modelfile")


@pytest.mark.parametrize(
    "parameters",
    [{"num_ctx": 5.0}, {"num_ctx": True}, {"stop": ["a"]}, {"stop": ()}, {"temperature": "0"}],
)
def test_wrong_types_are_refused_before_a_server_stores_them(parameters):
    with pytest.raises(InputError):
        Modelfile("a", parameters=parameters)


@pytest.mark.parametrize(
    "text", ['quotes that close """\nhere', "a\u200bzero-width space", "bell \a"]
)
def test_a_text_that_the_format_cannot_hold_is_not_written(text):
    with pytest.raises(InputError, match="would not be read back"):
        Modelfile("a", system=text).write()


VALUES = {
    int: st.integers(-10, 10**6),
    float: st.floats(-2, 2),
    bool: st.booleans(),
    tuple: st.lists(st.text(min_size=1), min_size=1).map(tuple),
}


@given(
    st.builds(
        Modelfile,
        from_=st.text(min_size=1),
        template=st.text(alphabet='ab"{}\n ก'),
        system=st.text(),
        license=st.lists(st.text()).map(tuple),
        parameters=st.fixed_dictionaries(
            {}, optional={name: VALUES[kind] for name, kind in PARAMETERS.items()}
        ),
    )
)
def test_whatever_is_written_is_read_back(modelfile):
    try:
        written = modelfile.write()
    except InputError:
        return  # refused, not altered
    assert parse_modelfile(written) == modelfile


def test_what_a_real_ollama_shows_is_read():
    exchanges = json.loads(RECORDED.read_text())
    created = {
        exchange["body"]["model"]: exchange["body"]
        for exchange in exchanges
        if exchange["request"] == "POST /api/create"
    }
    shown = 0
    for exchange in exchanges:
        if (
            exchange["request"] == "POST /api/show"
            and exchange["status"] == 200
            and exchange["response"].endswith("}")
        ):
            asked = created[exchange["body"]["model"]]
            if "adapters" in asked:
                continue
            read = parse_modelfile(json.loads(exchange["response"])["modelfile"])
            assert read.template == asked.get("template", "{{ .Prompt }}")
            assert read.system == asked.get("system", "")
            assert {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in read.parameters.items()
            } == asked["parameters"]
            shown += 1
    assert shown >= 6
