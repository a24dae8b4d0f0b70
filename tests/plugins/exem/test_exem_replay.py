"""Earlier translations that discriminators see again."""

from __future__ import annotations

import torch
from vemctl_exem.replay import ReplayBuffer


def samples(*numbers: int) -> torch.Tensor:
    """Return samples that are told by their value, (n, 1, 1, 2, 2)."""
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1, 1).expand(-1, 1, 1, 2, 2)


def numbers_of(seen: torch.Tensor) -> list[int]:
    """Return which samples these are."""
    assert seen.shape[1:] == (1, 1, 2, 2)
    assert torch.equal(seen.amin((1, 2, 3, 4)), seen.amax((1, 2, 3, 4)))
    return [int(value) for value in seen[:, 0, 0, 0, 0]]


def kept_in(buffer: ReplayBuffer) -> set[int]:
    """Return which samples a buffer holds."""
    return set(numbers_of(torch.cat(buffer.state_dict()["kept"])))


def test_without_room_everything_passes() -> None:
    """The same tensor comes back, and no random number is drawn."""
    before = torch.get_rng_state()
    buffer, made = ReplayBuffer(0), samples(1, 2)
    assert buffer.exchange(made) is made
    assert buffer.state_dict() == {"kept": []}
    assert torch.equal(torch.get_rng_state(), before)


def test_fills_with_what_is_new() -> None:
    """Until it is full every sample is seen, each of a batch counted."""
    buffer = ReplayBuffer(3)
    assert numbers_of(buffer.exchange(samples(1, 2))) == [1, 2]
    assert kept_in(buffer) == {1, 2}
    assert numbers_of(buffer.exchange(samples(3))) == [3]
    assert kept_in(buffer) == {1, 2, 3}


def test_half_of_what_is_seen_is_old() -> None:
    """An old one leaves when it is seen, and the new one takes its place."""
    torch.manual_seed(0)
    buffer, kept, old = ReplayBuffer(4), {0, 1, 2, 3}, 0
    buffer.exchange(samples(*kept))
    for number in range(4, 404):
        (seen,) = numbers_of(buffer.exchange(samples(number)))
        if seen != number:
            assert seen in kept
            kept = kept - {seen} | {number}
            old += 1
        assert kept_in(buffer) == kept
    assert 160 < old < 240


def test_later_changes_do_not_reach_what_is_kept() -> None:
    """A generator that overwrites its output changes no memory."""
    buffer = ReplayBuffer(1)
    made = samples(7).clone()
    buffer.exchange(made)
    made.zero_()
    assert kept_in(buffer) == {7}


def test_continues_from_its_state(tmp_path) -> None:
    """What was kept comes back from a file that torch reads safely, as far as there is room."""
    one, same, smaller = ReplayBuffer(3), ReplayBuffer(3), ReplayBuffer(2)
    one.exchange(samples(1, 2, 3))
    torch.save(one.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    same.load_state_dict(state, "cpu")
    smaller.load_state_dict(state, "cpu")
    assert kept_in(smaller) == {1, 2}
    found = []
    for buffer in (one, same):
        torch.manual_seed(1)
        found.append([numbers_of(buffer.exchange(samples(n, n + 1))) for n in range(4, 40, 2)])
    assert found[0] == found[1]
    smaller.exchange(samples(9))
    assert len(kept_in(smaller)) == 2
