"""At which of its optimizers' steps a program's steps end."""

from __future__ import annotations

from timeline.recorder.hooks.turns import ANEW, END, NOTHING, Turns, know, there


class Optimizer:
    """Something that can be referred to."""


def told(turns: Turns, *optimizers: Optimizer) -> list[int]:
    return [turns.stepped(each, may_begin=True) for each in optimizers]


def test_of_one_optimizer_each_step_ends_one() -> None:
    one, turns = Optimizer(), Turns(2)
    assert not turns.is_next
    assert told(turns, one) == [END]
    assert turns.is_next
    assert turns.which() == "the second step of Optimizer"
    assert told(turns, one) == [END]
    assert (turns.steps, turns.among) == (2, 1)


def test_of_two_that_take_turns_the_last_ones_steps_end_one() -> None:
    critic, generator, turns = Optimizer(), Optimizer(), Turns(2)
    assert told(turns, critic, generator) == [END, ANEW]
    assert turns.is_next
    assert told(turns, critic, generator) == [NOTHING, END]
    assert turns.among == 2


def test_one_that_is_new_begins_nothing_where_it_may_not() -> None:
    one, other, turns = Optimizer(), Optimizer(), Turns(2)
    told(turns, one)
    assert turns.stepped(other, may_begin=False) == NOTHING
    assert told(turns, one) == [END]


def test_after_a_weighed_step_a_new_one_begins_another_and_a_known_one_does_not() -> None:
    critic, generator, turns = Optimizer(), Optimizer(), Turns(2)
    assert told(turns, critic, critic) == [END, END]
    assert turns.stepped_after(critic) == NOTHING
    assert turns.stepped_after(generator) == ANEW
    assert turns.is_next
    assert told(turns, critic, critic, generator) == [NOTHING, NOTHING, END]
    assert turns.among == 2


def test_a_new_one_after_many_steps_or_in_the_place_of_one_that_is_gone_takes_no_turns() -> None:
    one, turns = Optimizer(), Turns(2)
    told(turns, one, one)
    assert {turns.stepped_after(one) for _ in range(126)} == {NOTHING}
    assert turns.stepped_after(Optimizer()) == END
    again = Turns(2)
    told(again, one, one)
    del one
    assert again.stepped_after(Optimizer()) == END


def test_what_is_gone_is_not_there() -> None:
    one, other = Optimizer(), Optimizer()
    those: list[object] = []
    assert know(those, one)
    assert know(those, other)
    assert not know(those, one)
    assert there(those) == [one, other]
    del other
    assert there(those) == [one]
