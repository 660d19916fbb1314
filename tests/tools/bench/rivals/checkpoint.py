"""Write a ViT-B/32 with random weights and all files that the other servers need."""

import json
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

END = "<|endoftext|>"


def checkpoint(folder: Path) -> Path:
    """Write the checkpoint if it does not exist yet, and return its folder."""
    if (folder / "tokenizer_config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    words = _words()
    text = {"num_hidden_layers": 1, "vocab_size": len(words)}
    text |= {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config={"patch_size": 32})).save_pretrained(
        folder
    )
    CLIPImageProcessorPil().save_pretrained(folder)
    # No text is sent, but the servers load a tokenizer; one of single characters will do.
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokens = {f"{name}_token": END for name in ("unk", "eos", "pad")}
    tokenizer = {"tokenizer_class": "CLIPTokenizer", "bos_token": words[-2], **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


def _words() -> list[str]:
    """Return the vocabulary of a byte-level BPE without merges."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = 256 - len(printable)
    letters = [chr(code) for code in (*printable, *range(256, 256 + others))]
    return [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", END]
