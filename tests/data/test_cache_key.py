from entityclip.data.cache_key import Inputs


def test_a_change_is_named_with_the_values_and_long_hashes_are_cut() -> None:
    before = Inputs(parts={"epochs": "2", "code": "a" * 40, "rate": "0.1", "gone": "1"})
    now = Inputs(parts={"epochs": "3", "code": "b" * 40, "rate": "0.1", "new": "x"})
    assert now.changes(before) == (
        "epochs changed (2 -> 3); code changed (aaaaaaaaaaaa... -> bbbbbbbbbbbb...); new changed (none -> x); "
        "gone changed (1 -> none)"
    )
    assert now.key != before.key


def test_the_same_parts_in_another_order_are_the_same_inputs() -> None:
    one, other = Inputs(parts={"a": "1", "b": "2"}), Inputs(parts={"b": "2", "a": "1"})
    assert one.key == other.key
    assert one.changes(other) == ""
    assert one.changes(None) == "nothing was made here before"
