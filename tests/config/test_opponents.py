import pytest

from clso.errors import ConfigError
from pipelines.config import RunConfig


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"classes": 600}, "classes is 600, but the vocabulary has 512 tokens"),
        ({"passes": [10**12]}, r"passes\.0: input should be less than or equal to 10000"),
        ({"n_embd": 3_000_000}, "n_embd: input should be less than or equal to 65536"),
        ({"passes": [0]}, r"opponents\.models\.0\.passes\.0: input should be greater than"),
        ({"network": "gpt", "n_embd": 9}, "n_embd 9 is not divisible by n_head 2"),
        ({"head": "full", "classes": 4}, "classes is 4, but head is full; leave it out"),
        ({"network": "rnn"}, r"input should be 'gpt' or 'lstm' \(given 'rnn'\)"),
        ({"optimizer": "sgd"}, r"input should be 'adamw' or 'muon' \(given 'sgd'\)"),
        ({"weight_decays": []}, "weight_decays: .*at least 1 item"),
    ],
)
def test_an_opponent_that_cannot_be_is_refused(model: dict[str, object], message: str) -> None:
    values = {"name": "a", "tokenizer": {"vocab_size": 512}, "opponents": {"models": [model]}}
    with pytest.raises(ConfigError, match=message) as caught:
        RunConfig.parsed(values, "a file", "correct it")
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(("kind", "tokens"), [("gpt2", 50_257), ("bytes", 257)])
def test_classes_are_compared_with_known_vocabularies(kind: str, tokens: int) -> None:
    models = [{"classes": tokens + 1}]
    values = {"name": "a", "tokenizer": {"kind": kind}, "opponents": {"models": models}}
    with pytest.raises(ConfigError, match=f"the vocabulary has {tokens} tokens"):
        RunConfig.parsed(values, "a file", "correct it")
    models[0]["classes"] = tokens
    assert RunConfig.parsed(values, "a file", "correct it").opponents.models[0].classes == tokens


def test_without_models_there_is_no_such_stage() -> None:
    from pipelines.stages import through

    for models, wanted in (([], False), ([{}], True)):
        values = {"name": "a", "opponents": {"models": models}}
        config = RunConfig.parsed(values, "a file", "correct it")
        names = [stage.name for stage in through("baseline", config)]
        assert ("opponents" in names) == wanted
