"""When a packet of the slow path goes back to the card."""

from scapy.all import TCP

from tests.control.test_slowpath import frame, story


def test_who_may_leave_does_not_wait(monkeypatch):
    """A look for events takes completions, too: the packet leaves then, not with the next one."""
    waits = []

    async def told(card, controller):
        slowpath, receive, read = controller.slowpath, card.receive, card.read
        slowpath.idle_ns = 200  # a look in almost every round

        async def watched(timeout_ns=None):
            if timeout_ns and slowpath.waiting:
                waits.append(any(leaving.ready for leaving in slowpath._leaving))
            return await receive(timeout_ns)

        async def prompt(address):
            card._execute()  # the engine is done before anybody looks
            return await read(address)
        monkeypatch.setattr(card, "receive", watched)
        monkeypatch.setattr(card, "read", prompt)
        for sport in range(20):
            card.switch.from_guest(2, frame(2, 3, TCP(sport=4000 + sport, dport=80, flags="S")))
            await card.settle(slowpath)
        assert len(card.switch.to_guests) == 20
    story(told)
    assert len(waits) >= 20 and not any(waits)
