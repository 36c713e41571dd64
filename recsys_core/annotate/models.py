"""Pretrained transformers in the place of the gazetteer and the lexicon: from a folder or the local cache, offline, safetensors alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from recsys_core.annotate.entities import Entity
from recsys_core.local_models import Pretrained, fingerprint

MAX_TOKENS = 512
# Names of classes → how good they sound; a model with others cannot be used.
POLARITY = {"negative": -1.0, "neg": -1.0, "neutral": 0.0, "neu": 0.0, "positive": 1.0, "pos": 1.0}
POLARITY |= {f"{n} star{'s' * (n > 1)}": (n - 3) / 2 for n in range(1, 6)}


class _Classifier(Pretrained):
    """A model with classes; texts go one by one, so that none depends on another."""

    @cached_property
    def source(self) -> str:
        """'model:' and a hash of the model's files."""
        return f"model:{fingerprint(self.folder)}"

    def _forward(self, texts: Sequence[str], **options: Any) -> Iterator[tuple[Any, Any]]:
        """(tokens, probabilities as an array) of each text."""
        import torch

        tokenizer, model = self.loaded
        limit = min(MAX_TOKENS, getattr(model.config, "max_position_embeddings", MAX_TOKENS))
        for text in texts:
            tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=limit, **options)
            inputs = {k: v.to(model.device) for k, v in tokens.items() if k != "offset_mapping"}
            with torch.inference_mode():
                yield tokens, model(**inputs).logits[0].softmax(-1).cpu().numpy()


class SentimentModel(_Classifier):
    """A sequence classifier whose classes are negative, neutral and positive, or one to five stars."""

    head = "AutoModelForSequenceClassification"

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """Sentiment of each text, −1 to 1: the mean of the classes' polarities by probability; RuntimeError for unknown classes."""
        names = self.loaded[1].config.id2label
        if unknown := sorted({str(n) for n in names.values()} - {n for n in names.values() if str(n).lower() in POLARITY}):
            raise RuntimeError(
                f"classes {', '.join(unknown)} of {self.folder} are no sentiment: name them negative, neutral, positive in config.json"
            )
        polarity = [POLARITY[str(names[i]).lower()] for i in range(len(names))]
        return [float(sum(p * v for p, v in zip(probabilities, polarity, strict=True))) for _, probabilities in self._forward(texts)]


class EntityModel(_Classifier):
    """A token classifier with classes O, B-… and I-…, or O and plain types."""

    head = "AutoModelForTokenClassification"

    def __call__(self, texts: Sequence[str]) -> list[list[Entity]]:
        """The entities of each text, types in lower case: runs of tokens of a type, begun anew by B-."""
        names = self.loaded[1].config.id2label
        found = []
        for text, (tokens, probabilities) in zip(texts, self._forward(texts, return_offsets_mapping=True), strict=True):
            spans: list[Entity] = []
            going = ""
            for (begin, end), row in zip(tokens["offset_mapping"][0].tolist(), probabilities, strict=True):
                prefix, dash, rest = str(names[int(row.argmax())]).partition("-")
                kind = (rest if dash else prefix).lower()
                if begin == end or kind == "o":
                    going = "" if begin != end else going
                elif kind == going and prefix != "B":
                    spans[-1] = Entity(kind, text[spans[-1].begin : end], spans[-1].begin, end)
                else:
                    spans.append(Entity(kind, text[begin:end], begin, end))
                    going = kind
            found.append([s for s in spans if s.entity.strip()])
        return found


def lexicon_scores(texts: Sequence[str]) -> list[float]:
    """Sentiment of each text by the lexicon."""
    from recsys_core.annotate.sentiment import sentiment

    return [sentiment(text) for text in texts]


def scorer(model: str | None, device: str) -> tuple[Callable[[Sequence[str]], list[float]], str]:
    """(function from texts to sentiments, what it is): the classifier that is named, else the lexicon."""
    if not model:
        return lexicon_scores, "lexicon"
    found = SentimentModel(model, device)
    return found, found.source
