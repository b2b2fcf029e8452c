"""Older checkpoints (.ckpt, .pt, .pth, .bin) by torch's restricted unpickler.

Only tensors and plain values come out of it: a file that asks for anything else, and so could run
code, is refused.
"""

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partwise.core.errors import WeightsError
from partwise.vram.safetensors_file import ITEM_BYTES, StoredTensor, short
from partwise.vram.tensor_stream import torch_dtypes

if TYPE_CHECKING:
    import torch

SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
_MAPPED_BYTES = 16 * 2**20
_STATE_DICT = "state_dict"


class PickledReader:
    """Reads tensors from the mapped file, and maps it anew now and then.

    Pages that were read stay in the resident set as long as the mapping lives.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tensors: dict[str, torch.Tensor] = {}
        self._read_bytes = 0

    def read_into(
        self, tensor: "torch.Tensor", key: str, stored: StoredTensor, start: int = 0
    ) -> None:
        """Fill `tensor` with the stored one's elements from `start` on."""
        size = tensor.numel() * ITEM_BYTES[stored.dtype]
        if not self._tensors or self._read_bytes + size > _MAPPED_BYTES:
            self._tensors, self._read_bytes = {}, 0
            self._tensors = _load(self._path)
        values = self._tensors[key].detach().reshape(-1)
        tensor.view(-1).copy_(values[start : start + tensor.numel()])
        self._read_bytes += size


def describe(path: Path) -> dict[str, StoredTensor]:
    """All tensors of a file in its order; raises `WeightsError`."""
    names = {dtype: name for name, dtype in torch_dtypes().items()}
    described: dict[str, StoredTensor] = {}
    for order, (key, tensor) in enumerate(_load(path).items()):
        if tensor.dtype not in names or tensor.is_quantized or tensor.is_sparse:
            raise WeightsError(
                f"{path.name}: {short(key)} is of the type {tensor.dtype}, which Partwise does not "
                "read. Use the .safetensors file."
            )
        size = tensor.numel() * tensor.element_size()
        described[key] = StoredTensor(names[tensor.dtype], tuple(tensor.shape), order, size)
    return described


def _load(path: Path) -> "dict[str, torch.Tensor]":
    """The tensors, mapped; the content of “state_dict” where there is one."""
    import torch

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except OSError as err:
        raise WeightsError(
            f"{path} cannot be read: {err.strerror}. Check that the file is there and may be read."
        ) from err
    except pickle.UnpicklingError as err:
        raise WeightsError(
            f"{path.name} holds more than tensors, and reading that could run code from it, so it "
            "was not read. Use the .safetensors file of the model."
        ) from err
    except (RuntimeError, ValueError, EOFError, KeyError, TypeError, AttributeError) as err:
        raise WeightsError(
            f"{path.name} is not a complete checkpoint of torch 1.6 or newer ({_first_line(err)}). "
            "Copy it again, or use the .safetensors file of the model."
        ) from err
    if isinstance(content, dict) and isinstance(content.get(_STATE_DICT), dict):
        content = content[_STATE_DICT]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path.name} holds no tensors by name. Use the .safetensors file.")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise WeightsError(
                f"{path.name}: {short(str(key))} is not a tensor but {type(value).__name__}. Use "
                "the .safetensors file of the model."
            )
    return content


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:120] or type(error).__name__
