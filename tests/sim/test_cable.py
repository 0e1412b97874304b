"""The cable between two cards' simulations: two paper worlds, a thread and a clock each."""

import threading
from types import SimpleNamespace

import pytest

from sim.linux import cable as under_test
from sim.linux.cable import DELAY_NS, Cable, fabric

HERE = threading.local()


class Until:
    """Suspends a task until a time."""

    def __init__(self, ns):
        self.ns = ns

    def __await__(self):
        yield self.ns


class World:
    """Time, tasks and a wire; what an Env, a Timeline and cocotb are to a cable."""

    idle = True

    def __init__(self):
        self.now_ns, self.queue, self.count, self.came = 0, [], 0, []

    def start_soon(self, coroutine):
        self._step(coroutine)
        return SimpleNamespace(cancel=lambda: self._drop(coroutine))

    def _drop(self, coroutine):
        self.queue = [one for one in self.queue if one[2] is not coroutine]

    def _step(self, coroutine):
        try:
            at = coroutine.send(None)
        except StopIteration:
            return
        self.count += 1
        self.queue.append((max(at, self.now_ns), self.count, coroutine))

    async def sleep(self, ns):
        await Until(self.now_ns + ns)

    def run(self, until_ns):
        while self.queue and min(self.queue)[0] <= until_ns:
            first = min(self.queue)
            self.queue.remove(first)
            self.now_ns = first[0]
            self._step(first[2])
        self.now_ns = until_ns

    def listen_to_wire(self, on_frame):
        self.sends = on_frame

    def wire_send(self, octets, *, error):
        self.came.append((self.now_ns, octets, error))


def both(monkeypatch, tmp_path, live):
    """Run ``live(world, cable, due, others)`` for both cards; their worlds."""
    monkeypatch.setattr(under_test.cocotb, "start_soon",
                        lambda coroutine: HERE.world.start_soon(coroutine))
    worlds, errors, order = [World(), World()], [], []

    def one(card):
        HERE.world = world = worlds[card]
        due = SimpleNamespace(ns=0)
        try:
            cable = Cable(world, world, card, tmp_path / "cable")
            cable.begin(lambda: due.ns)
            live(card, world, cable, due, order)
            cable.end()
        except Exception as error:
            errors.append((card, error))
            if cable._other:
                cable._other.close()

    threads = [threading.Thread(target=one, args=(card,), daemon=True) for card in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    if errors:
        raise errors[0][1]
    return worlds, order


def test_a_frame_takes_its_time_both_ways(monkeypatch, tmp_path):
    def live(card, world, cable, due, order):
        for step in range(1, 30):
            world.run(step * 700)
            if step in (3, 4, 11):
                world.sends(0, b"%d at %d" % (card, world.now_ns), step == 4)
        world.run(40_000)
        assert len(cable.frames) == 6 and not cable.under_way and cable.windows >= 19

    worlds, _ = both(monkeypatch, tmp_path, live)
    for card, world in enumerate(worlds):
        assert world.came == [(ns + DELAY_NS, b"%d at %d" % (1 - card, ns), ns == 2800)
                              for ns in (2100, 2800, 7700)]


def test_one_card_after_the_other_runs_each_window(monkeypatch, tmp_path):
    def live(card, world, cable, due, order):
        for step in range(1, 20):
            world.run(step * DELAY_NS - 1)
            order.append(card)
            world.run(step * DELAY_NS)

    _, order = both(monkeypatch, tmp_path, live)
    assert order == [0, 1] * 19


def test_a_rest_of_both_is_one_window(monkeypatch, tmp_path):
    def live(card, world, cable, due, order):
        due.ns = 1_000_000 + 500 * card
        world.run(900_000)
        assert cable.windows == 1 and cable.horizon_ns == 1_000_000 + DELAY_NS
        world.idle = False
        world.run(1_010_000)
        assert cable.windows == 6

    both(monkeypatch, tmp_path, live)


def test_the_other_goes_on_alone(monkeypatch, tmp_path):
    def live(card, world, cable, due, order):
        world.run(5_000 if card == 0 else 50_000)
        if card == 0:
            world.sends(0, b"last", False)
        else:
            assert world.came == [(5_000 + DELAY_NS, b"last", False)]
            assert cable.horizon_ns > 1 << 60

    both(monkeypatch, tmp_path, live)


def test_a_card_that_breaks_is_seen(monkeypatch, tmp_path):
    def live(card, world, cable, due, order):
        world.run(5_000)
        if card == 0:
            cable._other.close()
            cable._other = None
        else:
            world.run(50_000)

    with pytest.raises(RuntimeError, match="ended before its guests"):
        both(monkeypatch, tmp_path, live)


def test_each_card_is_the_other_s_next_hop():
    one, other = fabric(0), fabric(1)
    assert one.next_hop_mac == other.mac and other.next_hop_mac == one.mac
    assert str(one.address) == "192.0.2.1" and str(other.address) == "192.0.2.2"
