"""cocotb: a component without the compiled world. Started by test_build.py."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Timer

from sim.env import arguments, report


@cocotb.test()
async def ten_steps(dut):
    asked = arguments()
    dut.i.value, dut.rst.value = 0, 1
    Clock(dut.clk, 4, unit="ns", impl="gpi").start()
    await Timer(10, "ns")
    dut.rst.value = 0
    await Timer(9, "ns")
    dut.i.value = asked["step"]
    await Timer(40, "ns")
    dut.i.value = 0
    await Timer(8, "ns")
    total = dut.o.value.to_unsigned()
    assert total == asked.get("expect", 10 * asked["step"]), \
        f"the sum must be {asked.get('expect')}, not {total}"
    report(sum=total)
    report(row=dut.last.value.to_unsigned())
