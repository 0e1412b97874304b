"""What guests may ask of the provider while they run."""

import asyncio

import pytest

from sim.linux.orders import Orders


class Provider:
    """A controller and a time line that note what is asked of them."""

    def __init__(self):
        self.seen = []

    async def set_link(self, function_id, up):
        self.seen.append((function_id, up))

    async def advance(self, until_ns, stop):
        self.seen.append(until_ns)


def ask(tmp_path, words):
    """What was done, and what the guest was told."""
    provider = Provider()
    orders = Orders(tmp_path, provider, provider, {"net0": 3})
    asyncio.run(orders.carry_out(10))
    assert provider.seen == [] and orders.count == 0
    (tmp_path / "order").write_text(words)
    asyncio.run(orders.carry_out(20))
    asyncio.run(orders.carry_out(30))
    assert orders.count == 1 and not (tmp_path / "order").exists()
    return provider.seen, (tmp_path / "told.carried").read_text()


def test_an_order_is_carried_out_once_and_not_too_early(tmp_path):
    assert ask(tmp_path, "link net0 down\n") == ([20, (3, False)], "done\n")
    assert ask(tmp_path, "link net0 up\n") == ([20, (3, True)], "done\n")


@pytest.mark.parametrize("words,said", [
    ("link net1 up", "the function must be one of net0, not 'net1'\n"),
    ("link net0 sideways", "an order must be link NAME up|down, not 'link net0 sideways'\n"),
    ("", "an order must be link NAME up|down, not ''\n"),
])
def test_what_is_no_order_is_answered(tmp_path, words, said):
    assert ask(tmp_path, words) == ([20], said)


def test_without_a_folder_nothing_is_asked():
    asyncio.run(Orders(None, None, None, {}).carry_out(0))
