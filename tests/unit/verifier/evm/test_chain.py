"""Keys and nodes: where a key may come from, and what is said when there is none, or no node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_account import Account

from verinfer.verifier.errors import CouldNotCheck, UsageError, VerinferError
from verinfer.verifier.evm import chain

KEY = "11" * 32
RAW = bytes.fromhex(KEY)


def test_a_key_comes_from_the_environment_or_a_keystore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both give the same account; the keystore's password is in the environment, where nobody can be asked."""
    monkeypatch.setenv(chain.KEY_VARIABLE, KEY)
    account = chain.read_account(None)
    monkeypatch.setenv(chain.KEY_VARIABLE, f"0x{KEY}")
    assert chain.read_account(None).address == account.address
    keystore = tmp_path / "keystore.json"
    keystore.write_text(json.dumps(Account.encrypt(RAW, "sesame", kdf="pbkdf2", iterations=2)))
    monkeypatch.delenv(chain.KEY_VARIABLE)
    monkeypatch.setenv(chain.PASSWORD_VARIABLE, "sesame")
    assert chain.read_account(keystore).address == account.address


@pytest.mark.parametrize("key", ["", "11" * 31, "11" * 33, "zz" * 32, "0x", f"{KEY} "])
def test_what_is_no_key_is_refused_without_being_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that lost a digit would be another account, so only 64 digits are one."""
    monkeypatch.setenv(chain.KEY_VARIABLE, key)
    with pytest.raises(UsageError) as caught:
        chain.read_account(None)
    assert caught.value.code == "account-missing"
    assert not key or key not in caught.value.message
    assert caught.value.__suppress_context__


def test_a_keystore_that_does_not_open_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wrong password, or with what is no keystore."""
    monkeypatch.setenv(chain.PASSWORD_VARIABLE, "wrong")
    keystore = tmp_path / "keystore.json"
    for text in (
        json.dumps(Account.encrypt(RAW, "sesame", kdf="pbkdf2", iterations=2)),
        "[]",
        "{}",
        "not JSON",
    ):
        keystore.write_text(text)
        with pytest.raises(UsageError, match=r"keystore\.json") as caught:
            chain.read_account(keystore)
        assert caught.value.code == "account-missing"


def test_a_node_that_is_not_there_is_said_without_its_address() -> None:
    """An address may hold the secret of an account with somebody who runs nodes."""
    with pytest.raises(CouldNotCheck) as caught:
        chain.connect("http://127.0.0.1:9/v3/secret")
    assert caught.value.code == "chain-unreachable"
    assert "secret" not in str(caught.value)
    with pytest.raises(VerinferError, match="http"):
        chain.connect("file:///etc/passwd")
