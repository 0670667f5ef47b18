"""Two versions of a model as the pages are told of them, and a way back that writes down where it was asked to go."""

from stock_llm.errors import PublishError
from stock_llm.gateway.pages.project import AnswerPair, ModelVersion, ModelVersions


def read_versions():
    common = {
        "created_at": "2026-03-01T10:00:00+00:00",
        "profile": "stock-tiny",
        "gaps": (),
        "feedback": 12,
        "rollback_reason": "",
        "run_url": "http://127.0.0.1:5000/#/models/stock-llm/versions/1",
    }
    second = ModelVersion(
        number=2, verdict="promote", reasons=("better, <i>difference</i> +0.1",),
        aliases=("champion",), scores={"challenger": 0.85, "champion": 0.75}, low=0.8, high=0.9,
        **common,
    )  # fmt: skip
    first = ModelVersion(
        number=1, verdict="keep", reasons=("not enough evidence",), aliases=(),
        scores={"challenger": 0.75, "base": 0.1}, low=None, high=None, **common,
    )  # fmt: skip
    pair = AnswerPair(
        "Analyze X.\n\nClose: 1", "old answer", "new <script>answer</script>", 0.2, 0.9
    )
    return ModelVersions((second, first), (pair,), "champion", "http://127.0.0.1:5000", "http://p")


def roll_back(folder, number, reason):
    if number == 9:
        raise PublishError("stock-llm:v9 does not exist at the folder")
    (folder / "gone-back").write_text(f"{number}: {reason}")
