"""Fine-tuning of a run's GPT-2 models to classify texts, from several starts on equal terms.

Importing the settings and tasks loads no `torch`; `clso.finetune.fit` does.
"""

from clso.finetune.settings import FinetuneSettings
from clso.finetune.task import Examples, Task

__all__ = ["Examples", "FinetuneSettings", "Task"]
