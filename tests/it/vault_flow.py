"""The vault as the published client uses it. Arguments: base URL, keys of an admin and of the agents alpha and bravo."""

import sys

from inkbox import Inkbox
from inkbox.exceptions import InkboxAPIError
from inkbox.vault.types import LoginPayload, OtherPayload

FIRST, SECOND, THIRD = "First-key-of-vault-1", "Second-key-of-vault-2", "Third-key-of-vault-3"
base, admin_key, alpha_key, bravo_key = sys.argv[1:]


def connect(api_key, **settings):
    return Inkbox(api_key=api_key, base_url=base, **settings)


def fails(call, *errors):
    try:
        call()
    except errors as error:
        return error
    raise AssertionError("the call succeeds")


plain = connect(admin_key)
assert plain.vault.info() is None
fails(lambda: connect(admin_key, vault_key=FIRST), ValueError)
made = plain.vault.initialize(FIRST)
assert made.recovery_key_count == len(made.recovery_codes) == 4
info = plain.vault.info()
assert info.id == made.vault_id and info.key_count == 5 and info.recovery_key_count == 4, info
error = fails(lambda: plain.vault.initialize(FIRST), InkboxAPIError)
assert error.status_code == 409, error

admin = connect(admin_key, vault_key=FIRST)
fails(lambda: connect(admin_key, vault_key=SECOND), ValueError)
vault = admin.vault.unlocked
login = vault.create_secret("mail", LoginPayload(username="desk", password="hunter2"), description="for mail")
alpha = admin.get_identity("alpha")
other = alpha.create_secret("door", OtherPayload(data="4711"))
assert {secret.name for secret in admin.vault.list_secrets()} == {"mail", "door"}
assert [secret.name for secret in admin.vault.list_secrets(secret_type="login")] == ["mail"]
assert vault.get_secret(login.id).payload.password == "hunter2"
updated = vault.update_secret(login.id, name="post", payload=LoginPayload(username="desk", password="hunter3"))
assert updated.name == "post" and updated.description == "for mail", updated
vault.set_totp(login.id, "otpauth://totp/desk?secret=JBSWY3DPEHPK3PXP&issuer=harbor")
assert len(vault.get_totp_code(login.id).code) == 6
assert vault.get_secret(login.id).payload.password == "hunter3"

agent = connect(alpha_key, vault_key=FIRST)
unlocked = agent.vault.unlocked
assert [secret.payload.data for secret in unlocked.secrets] == ["4711"]
assert unlocked.get_secret(other.id).payload.data == "4711"
error = fails(lambda: unlocked.get_secret(login.id), InkboxAPIError)
assert error.status_code == 404, error
own = agent.vault.unlock(FIRST, identity_id=alpha.id)
assert [secret.name for secret in own.secrets] == ["door"]
stranger = connect(bravo_key, vault_key=FIRST).vault
assert stranger.list_secrets() == []
assert stranger.unlocked.secrets == []

key = admin.vault.update_key(SECOND, current_vault_key=FIRST)
assert key.key_type == "primary", key
fails(lambda: connect(admin_key, vault_key=FIRST), ValueError)
assert connect(alpha_key, vault_key=SECOND).get_identity("alpha").get_secret(other.id).payload.data == "4711"
admin.vault.update_key(THIRD, recovery_code=made.recovery_codes[0])
fails(lambda: admin.vault.update_key(FIRST, recovery_code=made.recovery_codes[0]), ValueError)
assert [key.key_type for key in admin.vault.list_keys()] == ["primary"] + ["recovery"] * 3
assert len(admin.vault.list_keys(key_type="recovery")) == 3

again = connect(admin_key, vault_key=THIRD)
alpha.revoke_credential_access(other.id)
error = fails(lambda: connect(alpha_key, vault_key=THIRD).get_identity("alpha").get_secret(other.id), InkboxAPIError)
assert error.status_code == 404, error
again.vault.delete_secret(login.id)
assert [secret.name for secret in again.vault.list_secrets()] == ["door"]
error = fails(lambda: vault.get_secret(login.id), InkboxAPIError)
assert error.status_code == 404, error
