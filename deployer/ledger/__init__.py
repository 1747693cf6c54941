"""State on disk: verified images, numbered releases, the lock, keys and the audit log.

Every function takes the `Home` (or a path) it works in; nothing here chooses folders by itself.
"""

from deployer.ledger.adopted import adopt, adopted, all_adopted, forget_adopted
from deployer.ledger.audit_log import AuditEntry, audit, audit_entries
from deployer.ledger.files import atomic_write, ensure_writable
from deployer.ledger.host_lock import Holder, lock, lock_holder
from deployer.ledger.imported import add_imported, forget_imported, imported
from deployer.ledger.names import checked_name
from deployer.ledger.observations import add_observation, all_observations, observations
from deployer.ledger.pointer import current, current_plan, known_plan, make_current, prune
from deployer.ledger.releases import create, deployments, folder, history, mark, read_bundle, read_plan, read_release
from deployer.ledger.secrets import (
    ensure_config,
    ensure_key,
    ensure_key_list,
    ensure_password,
    forget_key,
    key_path,
    read_key,
    rotate_key,
    store_key,
)
from deployer.ledger.verified import add_verified, entries, find_verified, for_fingerprint, forget_verified

__all__ = [
    "AuditEntry",
    "Holder",
    "add_imported",
    "add_observation",
    "add_verified",
    "adopt",
    "adopted",
    "all_adopted",
    "all_observations",
    "atomic_write",
    "audit",
    "audit_entries",
    "checked_name",
    "create",
    "current",
    "current_plan",
    "deployments",
    "ensure_config",
    "ensure_key",
    "ensure_key_list",
    "ensure_password",
    "ensure_writable",
    "entries",
    "find_verified",
    "folder",
    "for_fingerprint",
    "forget_adopted",
    "forget_imported",
    "forget_key",
    "forget_verified",
    "history",
    "imported",
    "key_path",
    "known_plan",
    "lock",
    "lock_holder",
    "make_current",
    "mark",
    "observations",
    "prune",
    "read_bundle",
    "read_key",
    "read_plan",
    "read_release",
    "rotate_key",
    "store_key",
]
