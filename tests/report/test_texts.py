from collections.abc import Callable

from clso.artifacts import Run, load_run
from clso.report.html import Block
from clso.report.run import report_page
from clso.report.texts import texts_section


def test_every_models_text_stands_in_the_order_of_the_results(
    make_run: Callable[..., Run],
) -> None:
    run = make_run()
    assert "clso generate RUN writes a text" in report_page(run).html()
    rows = [
        {
            "run_id": run.run_id,
            "seed": 7,
            "model": model,
            "prompt": "In the beginning",
            "followed_by": " God created",
            "text": f" <b>{model}",
            "n_tokens": 3,
            "temperature": 0.8,
            "top_p": 0.95,
        }
        for model in ("gpt", "adamw")
    ]
    run.folder.write_rows("samples", rows)
    run = load_run(run.path)
    texts = texts_section(run).blocks[-1]
    assert isinstance(texts, Block)
    assert texts.content == [
        ("the text itself", "In the beginning", " God created"),
        ("AdamW GPT-2", "In the beginning", " <b>adamw"),
        ("crystalline GPT", "In the beginning", " <b>gpt"),
    ]
    html = report_page(run).html()
    assert "<span>In the beginning</span> &lt;b&gt;gpt" in html
