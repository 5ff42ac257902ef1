#!/usr/bin/env python3
"""Makes containers/: `python3 make_containers.py` (gguf, numpy, torch, safetensors).

    types.gguf          a tensor of every number format that Lal reads: blocks of random bytes, whose scales are numbers
    types.safetensors   what `gguf` decodes them to, and numbers with what `gguf` and torch encode them as
    values.gguf         every type of metadata, at an alignment of 64
    values.json         the same values
    bf16.safetensors, f16.safetensors   what torch rounds numbers to
    sharded/            the same tensors in two files, with an index
"""
import json
import pathlib
import struct

import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from gguf import GGUFValueType as V
from gguf import GGUFWriter, quants
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent / "containers"
HERE.mkdir(exist_ok=True)
rng = np.random.default_rng(1337)

# Where each format has f16s: its scales.
SCALES = {
    T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}


def blocks(kind, count):
    _, size = quants.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in SCALES[kind]:
        scales = rng.normal(0, 0.1, count).astype(np.float16)
        data[:, at : at + 2] = scales.view(np.uint8).reshape(count, 2)
    return data


# Powers of two that are f16's smallest and largest, halves that round to even, signs, zeros.
ODD = [0.0, -0.0, 1.0, -1.0, 65504.0, -65519.0, 6e-8, -6.1e-5, 1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-9, 1 + 2**-8,
       1 + 3 * 2**-8, 3e-8, 2.9802322e-08, 0.1, -0.3, 1 / 3, 1e-20, -1e-38]
numbers = np.concatenate([np.array(ODD, np.float32), rng.normal(0, 1, 96 - len(ODD)).astype(np.float32)])
small = np.where(np.abs(numbers) < 1e4, numbers, 1).astype(np.float32).reshape(3, 32)
small[1, 0:4] = [127.0, 0.5, 1.5, -2.5]
small[1, 4:] = np.clip(small[1, 4:], -100, 100)
small[2] = 0

expected = {"numbers": torch.from_numpy(numbers), "small": torch.from_numpy(small)}
expected["small.Q8_0"] = torch.from_numpy(quants.quantize(small, T.Q8_0))
writer = GGUFWriter(HERE / "types.gguf", "llama")
writer.add_name("every number format")
for kind in SCALES:
    block, size = quants.GGML_QUANT_SIZES[kind]
    rows = 2 if block == 256 else 3
    data = blocks(kind, rows * (1 if block == 256 else 2)).reshape(rows, -1)
    name = f"{kind.name}.weight"
    writer.add_tensor(name, data, raw_dtype=kind)
    expected[name] = torch.from_numpy(quants.dequantize(data, kind))
for kind, dtype in ((T.F32, np.float32), (T.F16, np.float16)):
    data = numbers.astype(dtype).reshape(2, 3, 16)
    writer.add_tensor(f"{kind.name}.weight", data)
    expected[f"{kind.name}.weight"] = torch.from_numpy(data.astype(np.float32))
data = quants.quantize(numbers.reshape(4, 24), T.BF16)
writer.add_tensor("BF16.weight", data, raw_dtype=T.BF16)
expected["BF16.weight"] = torch.from_numpy(quants.dequantize(data, T.BF16))
writer.add_tensor("norm.weight", np.array([1.5, -2.5, 3.5], np.float32))
expected["norm.weight"] = torch.tensor([1.5, -2.5, 3.5])
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
save_file(expected, HERE / "types.safetensors")

values = {
    "u8": (V.UINT8, 200), "i8": (V.INT8, -100), "u16": (V.UINT16, 60000), "i16": (V.INT16, -30000),
    "u32": (V.UINT32, 4000000000), "i32": (V.INT32, -2000000000), "u64": (V.UINT64, 2**63 + 1),
    "i64": (V.INT64, -(2**62)), "f32": (V.FLOAT32, 0.5), "f64": (V.FLOAT64, 0.1), "true": (V.BOOL, True),
    "false": (V.BOOL, False), "text": (V.STRING, "naïve ☃ 🦙"),
    "integers": (V.ARRAY, [1, -2, 3]), "numbers": (V.ARRAY, [0.5, -0.25]), "truths": (V.ARRAY, [True, False]),
    "texts": (V.ARRAY, ["a", "", "ü"]), "nested": (V.ARRAY, [[1, 2], [3, 4]]),
}
writer = GGUFWriter(HERE / "values.gguf", "llama")
writer.add_custom_alignment(64)
for key, (kind, value) in values.items():
    writer.add_key_value(key, value, kind)
writer.add_tensor("a", np.arange(6, dtype=np.float32).reshape(2, 3))
writer.add_tensor("b", np.arange(5, dtype=np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
(HERE / "values.json").write_text(json.dumps({key: value for key, (_, value) in values.items()}, indent=1) + "\n")

for name, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16)):
    save_file({"numbers": expected["numbers"].to(dtype)}, HERE / f"{name}.safetensors")

sharded = HERE / "sharded"
sharded.mkdir(exist_ok=True)
parts = {
    "model-00001-of-00002.safetensors": {
        "embedding": torch.arange(12, dtype=torch.bfloat16).reshape(4, 3), "scale": torch.tensor(2.5),
    },
    "model-00002-of-00002.safetensors": {
        "head": torch.arange(6, dtype=torch.float16).reshape(2, 3) / 4, "ids": torch.arange(3),
    },
}
for file, tensors in parts.items():
    save_file(tensors, sharded / file, {"format": "pt"})
index = {
    "metadata": {"total_size": sum(t.numel() * t.element_size() for p in parts.values() for t in p.values())},
    "weight_map": {name: file for file, tensors in parts.items() for name in tensors},
}
(sharded / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
