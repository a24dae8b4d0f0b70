"""How this run may come by weights: its stores, the network, who listens, what stops it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from vemctl.events import Listener, ignore
from vemctl.object_store import is_offline
from vemctl.weights.patience import Patience
from vemctl.weights.store import Store, cache_folder, shared_folders


@dataclass(frozen=True)
class Access:
    """How weights may be come by.

    Attributes
    ----------
    own : Store
        Into which is fetched.
    shared : tuple of Store
        Looked into first, never written to.
    offline : bool
        Open no connection.
    listen : Listener
    stop : threading.Event, optional
        Set it to end a download where it can be continued.
    patience : Patience
        With servers.
    """

    own: Store
    shared: tuple[Store, ...] = ()
    offline: bool = False
    listen: Listener = ignore
    stop: threading.Event | None = None
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def from_environment(
        cls, listen: Listener = ignore, stop: threading.Event | None = None
    ) -> Access:
        """Return what VEMCTL_CACHE, VEMCTL_SHARED_CACHE and VEMCTL_OFFLINE say."""
        return cls(
            Store(cache_folder()),
            tuple(Store(folder) for folder in shared_folders()),
            is_offline(),
            listen,
            stop,
        )

    @property
    def stores(self) -> tuple[Store, ...]:
        """All stores, in the order in which they are looked into."""
        return (*self.shared, self.own)
