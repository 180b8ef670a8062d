import pytest

from training.bad_images import BadImages
from training.errors import UserError


def test_names_are_distinct_and_in_the_order_found():
    bad = BadImages()
    for name in ("b", "a", "b", "c"):
        bad.record(name)
    assert bad.names == ("b", "a", "c")


@pytest.mark.parametrize(("limit", "count", "refused"), [(0, 0, False), (0, 1, True), (2, 2, False), (2, 3, True)])
def test_up_to_the_limit_is_allowed(limit, count, refused):
    bad = BadImages(limit)
    for k in range(count):
        bad.record(f"train/cat/{k}.jpg")
    if refused:
        with pytest.raises(UserError):
            bad.check()
    else:
        bad.check()


def test_the_error_names_them_and_what_to_do():
    bad = BadImages()
    bad.record("train/cat/1.jpg")
    with pytest.raises(UserError) as caught:
        bad.check()
    assert str(caught.value) == (
        "1 image could not be decoded: train/cat/1.jpg; mend or remove it, or give --max_bad_images=1."
    )
    for k in range(22, 1, -1):
        bad.record(f"train/cat/{k}.jpg")
    first = sorted(f"train/cat/{k}.jpg" for k in range(1, 23))[:20]
    with pytest.raises(UserError) as caught:
        bad.check()
    assert str(caught.value) == (
        f"22 images could not be decoded: {', '.join(first)} and 2 more; mend or remove them, or give "
        "--max_bad_images=22."
    )
