"""Access a management port in Amaranth's simulator."""

__all__ = ["management_access"]


async def management_access(ctx, port, address, data=None, *, limit=80):
    """Write ``data``, or read if it is ``None``; return ``(data, error, cycles)`` of the reply."""
    ctx.set(port.requests.payload, {"address": address, "write": data is not None,
                                    "data": data or 0})
    ctx.set(port.requests.valid, 1)
    await ctx.tick()
    ctx.set(port.requests.valid, 0)
    for cycles in range(1, limit):
        *_, valid, reply = await ctx.tick().sample(port.replies.valid, port.replies.payload)
        if valid:
            return reply.data, reply.error, cycles
    raise AssertionError(f"no reply within {limit} cycles")
