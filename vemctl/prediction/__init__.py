"""From a frozen plan to a written volume: plan, engine, ledger."""
