"""Systems compared at equal cost: what a budget buys, and the price of what is bought."""

from pathlib import Path

import pytest

from dse.errors import InputError, UsageError
from dse.plugins import load_system
from dse.serving_equal import Equal, PriceTable, compare_equal, cost_of, read_price_table
from dse.system.system import System
from dse.workload import WorkloadOptions

OPTIONS = WorkloadOptions(model="deepseek_v2_lite", cache_len=1024)
TABLE = """\
schema_version: 1
chips: {h100_sxm: 25000}
area_per_mm2: 10
memory_per_gib: 15
links_per_gb_per_s: {nvlink: 4}
per_chip: 2000
fixed: 50000
"""


def system(name: str) -> System:
    return load_system(name).system


def test_prices_add_up(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(TABLE)
    table = read_price_table(path)
    h100 = cost_of(system("h100_node"), Equal.PRICE, table)
    # 25,000 for the chip, 15 x 74.5 x 0.9 GiB, 4 x 450 GB/s, 2,000 for its share of the host
    assert h100.per_chip == pytest.approx(25_000 + 15 * 74.5 * 0.9 + 4 * 450 + 2_000)
    assert h100.of(8) == pytest.approx(50_000 + 8 * h100.per_chip)
    b200 = system("b200_x32")
    area = float(b200.chip.table().area_mm2[0])
    assert cost_of(b200, Equal.PRICE, table).per_chip == pytest.approx(10 * area + 15 * 180 + 4 * 900 + 2_000)
    path.write_text(TABLE.replace("per_chip: 2000", "per_chip: -1"))
    with pytest.raises(InputError, match=r"prices\.yaml:6: 'per_chip' must be at least 0"):
        read_price_table(path)


def test_a_budget_buys_copies_or_a_part() -> None:
    first, other = system("h100_cluster"), system("h100_node")
    found = compare_equal(OPTIONS, [first, other], Equal.POWER, batches=[512], cache_lens=[1024], parallels=["ep=1"])
    assert [(c.copies, c.chips) for c in found] == [(1, 64), (8, 64)]
    assert found[0].cost == found[1].cost == 64 * 1275
    whole, copies = (c.point for c in found)
    assert whole is not None and copies is not None
    assert copies.batch == 64  # of one copy: the sequences are shared out
    assert copies.tpot_s == pytest.approx(whole.tpot_s, rel=1e-9)  # data parallelism alone needs no links
    half = compare_equal(OPTIONS, [first, other], Equal.POWER, batches=[512], cache_lens=[1024], budget=20 * 1275.0)
    assert [c.chips for c in half] == [16, 16]  # whole nodes of a cluster, whole copies of a node


def test_what_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match=r"gives no chips\.price"):
        cost_of(system("b200_x32"), Equal.PRICE)
    with pytest.raises(UsageError, match=r"gives no chips\.power_w"):
        cost_of(system("b200_x32"), Equal.POWER)
    with pytest.raises(UsageError, match="no chip 'b200_sxm'"):
        cost_of(system("b200_x32"), Equal.PRICE, PriceTable(schema_version=1, chips={"h100_sxm": 1.0}))
    with pytest.raises(UsageError, match="buy no chip"):
        compare_equal(OPTIONS, [system("h100_node")], Equal.POWER, batches=[8], cache_lens=[1024], budget=100.0)
