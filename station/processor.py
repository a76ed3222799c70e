"""What the processor can: the instructions that make low precisions fast, as the kernel names them."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CPUINFO: Final = Path("/proc/cpuinfo")

_NAMES = ("model name", "Model", "Hardware")  # x86, boards with an Arm processor, older ones of these
_LISTS = ("flags", "Features")  # x86, Arm


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor by name, with what it has of the instructions that count here."""

    name: str
    cores: int
    vnni: bool = False  # x86: products of int8 (AVX512-VNNI or AVX-VNNI)
    amx: bool = False  # x86: tiles of int8 or bfloat16
    avx512_bf16: bool = False  # x86: products of bfloat16
    dotprod: bool = False  # Arm: products of int8
    i8mm: bool = False  # Arm: matrices of int8
    bf16: bool = False  # Arm: products and matrices of bfloat16

    @property
    def abilities(self) -> tuple[str, ...]:
        """Names of the instructions that it has."""
        found = {
            "VNNI": self.vnni,
            "AMX": self.amx,
            "AVX512-BF16": self.avx512_bf16,
            "dot product": self.dotprod,
            "I8MM": self.i8mm,
            "BF16": self.bf16,
        }
        return tuple(word for word, has in found.items() if has)

    def __str__(self) -> str:
        abilities = ", ".join(self.abilities) or "no instructions for int8 or bfloat16"
        return f"{self.name}, {self.cores} core{'s' * (self.cores != 1)}, {abilities}"


def flags(cpuinfo: str) -> Processor:
    """The processor that a text like /proc/cpuinfo describes; of several kinds of cores the one named first."""
    fields: dict[str, str] = {}
    cores = 0
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        cores += key.strip() == "processor"
        fields.setdefault(key.strip(), value.strip())
    words = frozenset(next((fields[key] for key in _LISTS if key in fields), "").split())
    return Processor(
        name=_name(fields),
        cores=max(cores, 1),
        vnni=not words.isdisjoint({"avx512_vnni", "avx_vnni"}),
        amx="amx_tile" in words and not words.isdisjoint({"amx_int8", "amx_bf16"}),
        avx512_bf16="avx512_bf16" in words,
        dotprod="asimddp" in words,
        i8mm="i8mm" in words,
        bf16="bf16" in words,
    )


def this_processor(path: Path = CPUINFO) -> Processor:
    """The processor of this machine; where the kernel does not tell, its kind alone."""
    try:
        return flags(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return flags(f"model name: {platform.processor() or platform.machine()}")


def _name(fields: dict[str, str]) -> str:
    told = next((fields[key] for key in _NAMES if fields.get(key)), None)
    if told is None and "CPU part" in fields:
        return f"Arm processor {fields.get('CPU implementer', '')} {fields['CPU part']}".replace("  ", " ")
    return told or "an unnamed processor"
