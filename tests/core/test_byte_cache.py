from hypothesis import given
from hypothesis import strategies as st

from partwise.core.byte_cache import ByteCache

SIZES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=40)


def test_what_was_used_least_recently_goes_first() -> None:
    cache: ByteCache[str, int] = ByteCache(10)
    cache.put("a", 1, 4)
    cache.put("b", 2, 4)
    assert cache.get("a") == 1
    cache.put("c", 3, 4)
    assert cache.get("b") is None
    assert (cache.get("a"), cache.get("c")) == (1, 3)


def test_a_value_larger_than_the_limit_is_not_kept_and_costs_nobody_a_place() -> None:
    cache: ByteCache[str, int] = ByteCache(10)
    cache.put("a", 1, 4)
    cache.put("b", 2, 11)
    assert cache.get("b") is None
    assert cache.get("a") == 1


def test_a_value_that_has_grown_too_large_is_forgotten() -> None:
    cache: ByteCache[str, int] = ByteCache(10)
    cache.put("a", 1, 4)
    cache.put("a", 2, 11)
    assert cache.get("a") is None
    assert cache.total_bytes == 0


@given(SIZES)
def test_the_bytes_never_exceed_the_limit(puts: list[tuple[int, int]]) -> None:
    cache: ByteCache[int, int] = ByteCache(20)
    kept: dict[int, int] = {}
    for key, size in puts:
        cache.put(key, size, size)
        kept[key] = size
        assert cache.total_bytes <= 20
    alive = [key for key in kept if cache.get(key) is not None]
    assert cache.total_bytes == sum(kept[key] for key in alive)
    cache.clear()
    assert cache.total_bytes == 0
