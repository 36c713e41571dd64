"""A causal language model on this machine, by transformers: greedy, offline, safetensors alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from recsys_core.generate import Prompt
from recsys_core.local_models import Pretrained, fingerprint

MAX_PROMPT_TOKENS = 2_048


class LocalModel(Pretrained):
    """A causal language model; prompts are answered one by one, so that an answer does not depend on what else is asked."""

    head = "AutoModelForCausalLM"
    gpu_dtype = "auto"

    def __init__(self, model: str | None, device: str = "auto", **_: Any) -> None:
        """ValueError when no model is named, RuntimeError when it is not on this machine."""
        if not model:
            raise ValueError("no local model is named: set TEXT_MODEL to a folder or to a Hugging Face id that was downloaded before")
        super().__init__(model, device)

    @cached_property
    def name(self) -> str:
        """'local:' and a hash of the model's files."""
        return f"local:{fingerprint(self.folder)}"

    def generate(self, prompts: Sequence[Prompt], say: Callable[[str], None]) -> list[str]:
        """The likeliest next tokens of each prompt, in its chat template where the model has one."""
        import torch

        try:
            tokenizer, model = self.loaded
        except (OSError, ValueError, RuntimeError) as error:
            say(f"text generator: {self.folder} cannot be loaded ({error}): {len(prompts)} texts are by template")
            return [""] * len(prompts)
        found = []
        for prompt in prompts:
            text, chat = prompt.text, bool(tokenizer.chat_template)
            if chat:
                messages = [{"role": "user", "content": text}]
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
            room = min(getattr(model.config, "max_position_embeddings", None) or MAX_PROMPT_TOKENS, MAX_PROMPT_TOKENS) - prompt.max_tokens
            given = tokenizer(text, return_tensors="pt", truncation=True, max_length=room, add_special_tokens=not chat).to(model.device)
            with torch.inference_mode():
                tokens = model.generate(
                    input_ids=given["input_ids"],
                    attention_mask=given["attention_mask"],
                    max_new_tokens=prompt.max_tokens,
                    do_sample=False,
                    num_beams=1,
                    temperature=None,
                    top_p=None,
                    top_k=None,
                    pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
                )
            found.append(tokenizer.decode(tokens[0, given["input_ids"].shape[1] :], skip_special_tokens=True))
        return found
