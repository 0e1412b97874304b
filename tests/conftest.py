"""The collector of garbage works between tests, not in them: designs are large and few die young.

A test makes some million objects that live as long as it does; walking through them again and again
took a third of the suite's processor time.
"""

import gc

import pytest

_MANY = 200_000  # objects that are younger than the last collection


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    gc.disable()
    try:
        return (yield)
    finally:
        if gc.get_count()[0] > _MANY:
            gc.collect()
        gc.enable()
