"""What a processor can, from texts as kernels write them."""

from __future__ import annotations

from pathlib import Path

from station.processor import CPUINFO, Processor, flags, this_processor

SAPPHIRE_RAPIDS = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8488C
flags\t\t: fpu sse4_2 avx2 avx512f avx_vnni avx512_bf16 avx512_vnni amx_bf16 avx512_fp16 amx_tile amx_int8

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8488C
flags\t\t: fpu sse4_2 avx2 avx512f avx_vnni avx512_bf16 avx512_vnni amx_bf16 avx512_fp16 amx_tile amx_int8
"""
SANDY_BRIDGE = """\
processor\t: 0
model name\t: Intel(R) Core(TM) i5-2400 CPU @ 3.10GHz
flags\t\t: fpu vme de pse tsc msr sse4_1 sse4_2 popcnt aes xsave avx
"""
RASPBERRY_PI_5 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

processor\t: 1
Features\t: fp asimd asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

Revision\t: c04170
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
GRAVITON_3 = """\
processor\t: 0
Features\t: fp asimd asimddp sve svei8mm svebf16 i8mm bf16 dgh rng
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""


def test_a_server_that_has_it_all() -> None:
    found = flags(SAPPHIRE_RAPIDS)
    assert found == Processor("Intel(R) Xeon(R) Platinum 8488C", 2, vnni=True, amx=True, avx512_bf16=True)
    assert str(found) == "Intel(R) Xeon(R) Platinum 8488C, 2 cores, VNNI, AMX, AVX512-BF16"


def test_an_old_desktop_that_has_none_of_it() -> None:
    found = flags(SANDY_BRIDGE)
    assert found == Processor("Intel(R) Core(TM) i5-2400 CPU @ 3.10GHz", 1)
    assert str(found) == "Intel(R) Core(TM) i5-2400 CPU @ 3.10GHz, 1 core, no instructions for int8 or bfloat16"


def test_arm_boards_and_servers() -> None:
    assert flags(RASPBERRY_PI_5) == Processor("Raspberry Pi 5 Model B Rev 1.0", 2, dotprod=True)
    assert flags(GRAVITON_3) == Processor("Arm processor 0x41 0xd40", 1, dotprod=True, i8mm=True, bf16=True)


def test_a_word_that_only_contains_another_is_not_it() -> None:
    """`svei8mm` is another instruction than `i8mm`, and tiles without a product are of no use."""
    assert flags("Features : asimd svei8mm svebf16").abilities == ()
    assert flags("flags : amx_tile avx512_bf16x").abilities == ()


def test_a_machine_without_such_a_file_is_named_all_the_same(tmp_path: Path) -> None:
    found = this_processor(tmp_path / "cpuinfo")
    assert found.name and found.cores == 1 and found.abilities == ()
    (tmp_path / "cpuinfo").write_text(SANDY_BRIDGE)
    assert this_processor(tmp_path / "cpuinfo") == flags(SANDY_BRIDGE)


def test_this_machine_is_read() -> None:
    if CPUINFO.exists():
        assert this_processor() == flags(CPUINFO.read_text())
