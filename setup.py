"""The list of packages; everything else is in `pyproject.toml`.

The shipped configurations stay in `configs/`, where users see them, and are installed as data of
`pipelines`. A list of packages that is found cannot have such a mapping in `pyproject.toml`.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["clso*", "search*", "pipelines*"]), "pipelines.configs"],
    package_dir={"pipelines.configs": "configs"},
)
