"""The ranks that torchrun starts, and the interface over which they reach each other."""

from __future__ import annotations

import socket

import pytest

from harness.errors import InputError
from harness.training.rank_setting import INTERFACE, interface_to, launched

_TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "2",
}  # fmt: skip


def test_the_variables_of_torchrun() -> None:
    group = launched(_TORCHRUN)
    assert group is not None
    assert (group.first, group.count, group.planned, group.at) == (3, 4, 2, 1)
    assert not group.serves, "the agent of torchrun does"
    assert group.prefix == "lparbench/2", "a restarted group meets anew"
    by_hand = launched(
        {name: _TORCHRUN[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
    )
    assert by_hand is not None
    assert by_hand.serves
    assert by_hand.planned == 2


@pytest.mark.parametrize("changes", [{"WORLD_SIZE": "1", "RANK": "0"}, {"MASTER_ADDR": None}])
def test_a_process_that_is_alone_is_no_rank(changes: dict[str, str | None]) -> None:
    assert launched({name: text for name, text in {**_TORCHRUN, **changes}.items() if text is not None}) is None


@pytest.mark.parametrize(("name", "text"), [("RANK", "4"), ("MASTER_PORT", "x"), ("LOCAL_RANK", ""), ("RANK", "-1")])
def test_variables_that_torchrun_does_not_set_so_are_refused(name: str, text: str) -> None:
    with pytest.raises(InputError, match=name):
        launched({**_TORCHRUN, name: text})


def test_the_interface_is_that_of_the_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(INTERFACE, raising=False)
    assert interface_to("127.0.0.1", alone=True) == "lo"
    with pytest.raises(InputError, match="loopback, where ranks on other hosts cannot come"):
        interface_to("localhost", alone=False)
    with pytest.raises(InputError, match="ranks cannot meet there"):
        interface_to("no-such-host.invalid", alone=False)


def test_the_users_interface_goes_before_that_of_the_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INTERFACE, "eth7")
    group = launched(_TORCHRUN)
    assert group is not None
    assert group.setting(3).interface is None


def test_a_host_reaches_its_own_address_over_the_interface_that_has_it() -> None:
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        own = [each.address for each in addresses if each.family == socket.AF_INET]
        if own and name != "lo" and psutil.net_if_stats()[name].isup:
            assert interface_to(own[0], alone=False) == name
